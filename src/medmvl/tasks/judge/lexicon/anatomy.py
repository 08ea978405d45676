"""Organs and structures, each with the whole that it is part of. A line: `place:name < implied claims: phrases`."""

ANATOMY = """
place:chest: chest, thorax, thoracic cavity, thoracic region, chest cavity, hemithorax, hemithoraces, hemithoraxes,
    thoracic, 胸, 胸部, 胸腔, 胸廓
place:lung < place:chest: lung, lungs, pulmonary, lung parenchyma, pulmonary parenchyma, lung field, lung fields,
    lung parenchymas, lung tissue, parenchyma of the lung, parenchyma of the lungs, 肺, 肺部, 肺野, 肺内, 肺实质
place:airspace: airspace, air space, alveolar, alveoli, acinar, 肺泡
place:airway < place:chest: airway, airways, tracheobronchial tree, tracheobronchial, 气道
place:trachea < place:airway: trachea, tracheal, windpipe, tracheal lumen, 气管
place:carina < place:trachea: carina, carinal, tracheal bifurcation, bifurcation of the trachea, 隆突, 气管分叉
place:bronchus < place:airway: bronchus, bronchi, bronchial, bronchial tree, bronchial structures, 支气管
place:main_bronchus < place:bronchus: main bronchus, main bronchi, mainstem bronchus, mainstem bronchi,
    main stem bronchus, principal bronchus, mainstem, 主支气管
place:lobar_bronchus < place:bronchus: lobar bronchus, lobar bronchi, lobe bronchus, 叶支气管
place:segmental_bronchus < place:bronchus: segmental bronchus, segmental bronchi, 段支气管
place:intermediate_bronchus < place:bronchus, side:right: intermediate bronchus, bronchus intermedius, 中间支气管
place:bronchiole < place:airway: bronchiole, bronchioles, centriacinar, centrilobular, 小叶中心
place:interstitium < place:lung: interstitium, interlobular septa, interlobular septum, septa, septum, septal,
    interstitial, 间质, 小叶间隔
place:pleura < place:chest: pleura, pleural, pleural surface, pleural surfaces, pleural leaf, pleural leaves, 胸膜
place:pleural_space < place:pleura: pleural space, pleural cavity, pleural spaces, 胸膜腔, 胸腔
place:pleural_recess < place:pleura: costophrenic, costophrenic angle, costophrenic sinus, costophrenic recess,
    pleural sinus, 肋膈角
place:fissure < place:lung: fissure, fissures, interlobar, interlobar fissure, interlobar space, 叶间裂, 裂
place:major_fissure < place:fissure: major fissure, oblique fissure, major fissures, 斜裂
place:minor_fissure < place:fissure, side:right: minor fissure, horizontal fissure, 水平裂
place:lung_hilum < place:lung: lung hilum, pulmonary hilum, hilar area
place:mediastinum < place:chest: mediastinum, mediastinal, mediastinal space, mediastinal region, 纵隔, 縱隔
place:anterior_mediastinum < place:mediastinum, depth:anterior: anterior mediastinum, anterior mediastinal,
    prevascular mediastinum, 前纵隔
place:middle_mediastinum < place:mediastinum: middle mediastinum, 中纵隔
place:posterior_mediastinum < place:mediastinum, depth:posterior: posterior mediastinum, 后纵隔
place:superior_mediastinum < place:mediastinum, level:upper: superior mediastinum, upper mediastinum, 上纵隔
place:prevascular < place:mediastinum, depth:anterior: prevascular, pre vascular, prevascular area,
    prevascular space, prevascular region, 血管前
place:paratracheal < place:mediastinum: paratracheal, para tracheal, prta, paratracheal region, 气管旁
place:pretracheal < place:mediastinum: pretracheal, pre tracheal, pre paratracheal, preparatracheal, 气管前
place:retrotracheal < place:mediastinum: retrotracheal, 气管后
place:subcarinal < place:mediastinum, rel:below: subcarinal, sub carinal, infracarinal, below the carina, 隆突下,
    隆凸下
place:precarinal < place:mediastinum: precarinal, pre carinal, 隆突前
place:ap_window < place:mediastinum, side:left: aortopulmonary window, aorticopulmonary window, aortopulmonary,
    aorticopulmonary, aortapulmonary, ap window, aorto pulmonary, aorto pulmonary window, 主肺动脉窗, 主肺窗
place:paraaortic: paraaortic, para aortic, periaortic, preaortic, paraortal, 主动脉旁
place:paraesophageal < place:mediastinum: paraesophageal, para esophageal, periesophageal, 食管旁
place:paracardiac < place:mediastinum: paracardiac, pericardiac, paracardial, cardiophrenic, 心旁, 心膈角
place:retrosternal < depth:anterior, place:mediastinum: retrosternal, substernal, 胸骨后
place:internal_mammary < place:chest: internal mammary, parasternal, 内乳
place:thymus < place:mediastinum: thymus, thymic, thymic lodge, thymic bed, 胸腺
place:axilla: axilla, axillary, axillae, armpit, axillary region, axillary fossa, 腋窝, 腋下, 腋
place:supraclavicular < place:neck: supraclavicular, supraclavicular fossa, 锁骨上
place:infraclavicular: infraclavicular, 锁骨下区
place:retropectoral: retropectoral, subpectoral, interpectoral, pectoral, 胸肌
place:neck: neck, cervical, cervical region, 颈, 颈部
place:inlet: thoracic inlet, inlet, 胸廓入口
place:thyroid < place:neck: thyroid, thyroid gland, thyroid lobe, thyroid lobes, 甲状腺
place:isthmus < place:thyroid: isthmus, 峡部
place:esophagus < place:mediastinum: esophagus, oesophagus, esophageal, oesophageal, 食管, 食道
place:hiatus < place:esophagus, place:diaphragm: hiatus, hiatal, esophageal hiatus, 食管裂孔, 裂孔
place:gej: esophagogastric junction, gastroesophageal junction, gastroesophageal, esophagogastric, esophagocardiac,
    gastro esophageal, 食管胃结合部
place:heart < place:chest: heart, cardiac, cardiac chambers, cardio, 心, 心脏
place:pericardium < place:heart: pericardium, pericardial, pericardial space, pericardial area, epicardial,
    pericardial sac, 心包
place:left_ventricle < place:heart, side:left, place:ventricle: left ventricle, left ventricular, lv, 左心室
place:right_ventricle < place:heart, side:right, place:ventricle: right ventricle, right ventricular, rv, 右心室
place:ventricle < place:heart: ventricle, ventricles, ventricular, 心室
place:left_atrium < place:heart, side:left, place:atrium: left atrium, left atrial, la, 左心房
place:right_atrium < place:heart, side:right, place:atrium: right atrium, right atrial, ra, 右心房
place:atrium < place:heart: atrium, atria, atrial, 心房
place:apex_heart: cardiac apex, 心尖
place:valve < place:heart: valve, valves, valvular, 瓣膜, 瓣
place:aortic_valve < place:valve: aortic valve, aortic root valve, 主动脉瓣
place:mitral < place:valve: mitral valve, mitral, mitral annulus, 二尖瓣
place:tricuspid < place:valve: tricuspid valve, tricuspid, 三尖瓣
place:coronary < place:heart, place:artery: coronary artery, coronary arteries, coronary,
    coronary vascular structures, coronary vessels, 冠状动脉, 冠脉
place:lad < place:coronary, side:left: lad, left anterior descending, left anterior descending artery,
    left anterior descending coronary artery, 前降支
place:circumflex < place:coronary: circumflex, circumflex artery, cx, lcx, 回旋支
place:rca < place:coronary, side:right: right coronary artery, right coronary, rca, 右冠状动脉
place:artery < place:vessel: artery, arteries, arterial, 动脉
place:vein < place:vessel: vein, veins, venous, 静脉
place:vessel: vessel, vessels, vascular, vascular structures, vascular structure, 血管
place:great_vessels < place:mediastinum: great vessels, large vessels, main vascular structures, major vessels,
    mediastinal main vascular structures, mediastinal vascular structures, 大血管
place:aorta < place:vessel: aorta, aortic, 主动脉
place:ascending_aorta < place:thoracic_aorta: ascending aorta, ascending, ascending thoracic aorta, 升主动脉
place:descending_aorta < place:thoracic_aorta: descending aorta, descending thoracic aorta, descending, 降主动脉
place:aortic_arch < place:thoracic_aorta: aortic arch, arch of the aorta, arcus aorta, arch, 主动脉弓
place:thoracic_aorta < place:aorta: thoracic aorta, 胸主动脉
place:abdominal_aorta < place:aorta, place:abdomen: abdominal aorta, 腹主动脉
place:aortic_root < place:aorta: aortic root, 主动脉根部
place:supraaortic < place:vessel: supraaortic, supraaortic branches, supra aortic
place:pulmonary_artery < place:artery: pulmonary artery, pulmonary arteries, pulmonary trunk,
    main pulmonary artery, pulmonary artery trunk, pulmonary truncus, truncus pulmonalis, 肺动脉
place:pulmonary_vein < place:vein: pulmonary vein, pulmonary veins, 肺静脉
place:svc < place:vein: superior vena cava, svc, 上腔静脉
place:ivc < place:vein: inferior vena cava, ivc, 下腔静脉
place:vena_cava < place:vein: vena cava, caval, 腔静脉
place:azygos < place:vein: azygos, azygos vein, azygous, 奇静脉
place:subclavian < place:vessel: subclavian, subclavian artery, subclavian vein, 锁骨下动脉, 锁骨下静脉
place:brachiocephalic < place:vessel: brachiocephalic, brachiocephalic vein, innominate, brachiocephalic trunk, 头臂
place:carotid < place:artery, place:neck: carotid, carotid artery, 颈动脉
place:jugular < place:vein, place:neck: jugular, jugular vein, internal jugular, internal jugular vein, 颈静脉
place:portal < place:vein: portal vein, portal, porta hepatis, 门静脉
place:diaphragm: diaphragm, diaphragmatic, hemidiaphragm, hemidiaphragms, 膈, 膈肌, 横膈
place:crus < place:diaphragm: crus, diaphragmatic crus, diaphragm crus, 膈脚
place:subdiaphragmatic < place:abdomen: subdiaphragmatic, below the diaphragm, under the diaphragm,
    inferior to the diaphragm, infradiaphragmatic, infradiaphragmally, subphrenic, 膈下
place:supradiaphragmatic < place:chest: supradiaphragmatic, above the diaphragm, superior to the diaphragm, 膈上
place:breast < place:chest_wall: breast, breasts, mammary, breast tissue, 乳腺, 乳房
place:nipple < place:breast: retroareolar, areola, nipple, subareolar, 乳晕, 乳头
place:chest_wall < place:chest: chest wall, thoracic wall, 胸壁
place:skin: skin, cutaneous, 皮肤
place:subcutaneous: subcutaneous, subcutaneous tissue, subcutaneous fat, subcutaneous fatty tissue, under the skin,
    皮下
place:muscle: muscle, muscles, muscular, intramuscular, 肌肉, 肌
place:bone: bone, bones, bony, bone structures, bony structures, osseous, skeletal, skeleton, bone structure, 骨,
    骨骼, 骨质
place:spine < place:bone: spine, spinal, vertebral column, vertebra, vertebrae, vertebral, spinal column,
    vertebral body, vertebral bodies, vertebral corpus, corpus vertebrae, vertebral corpuscles, 脊柱, 椎体, 脊椎,
    椎
place:thoracic_spine < place:spine: thoracic spine, thoracic vertebrae, thoracic vertebra, dorsal spine,
    dorsal vertebrae, thoracic vertebral, thoracic vertebral column, dorsal vertebra, 胸椎
place:lumbar_spine < place:spine: lumbar spine, lumbar vertebrae, lumbar vertebra, lumbar, 腰椎
place:cervical_spine < place:spine: cervical spine, cervical vertebrae, 颈椎
place:endplate < place:spine: endplate, end plate, endplates, end plates, vertebral endplate, plateau, plateaus,
    vertebral plateaus, 终板
place:vertebral_corner < place:spine: vertebral corpus corners, vertebral corner, corpus corners, corners, corner,
    vertebral corners, 椎体缘
place:disc < place:spine: disc, discs, intervertebral disc, intervertebral discs, disc space, disc spaces,
    intervertebral, intervertebral disc space, intervertebral disc spaces, intervertebral disc distances, 椎间盘,
    椎间隙
place:foramina < place:spine: neural foramina, neural foramen, foramina, neuroforamina, 椎间孔
place:canal < place:spine: spinal canal, canal, 椎管
place:facet < place:spine: facet, facet joint, facet joints, 小关节
place:paravertebral: paravertebral, paraspinal, 椎旁
place:rib < place:bone, place:chest_wall: rib, ribs, costal, costa, 肋骨, 肋
place:costochondral < place:rib: costochondral, costal cartilage, 肋软骨
place:costovertebral < place:rib: costovertebral, 肋椎
place:intercostal < place:chest_wall: intercostal, 肋间
place:sternum < place:bone, place:chest_wall: sternum, sternal, manubrium, xiphoid, 胸骨
place:clavicle < place:bone: clavicle, clavicular, clavicles, collarbone, 锁骨
place:sternoclavicular: sternoclavicular, sternoclavicular joint, 胸锁关节
place:scapula < place:bone: scapula, scapular, scapulae, 肩胛骨
place:shoulder: shoulder, shoulder joint, glenohumeral, 肩, 肩关节
place:humerus < place:bone: humerus, humeral, humeral head, 肱骨
place:pelvis: pelvis, pelvic, 骨盆, 盆腔
place:abdomen: abdomen, belly, abdominal, intraabdominal, intra abdominal, abdominal sections, abdominal cavity, 腹, 腹部,
    腹腔
place:upper_abdomen < place:abdomen: upper abdomen, upper abdominal, upper abdominal sections,
    upper abdominal organs, upper part of the abdomen, upper sections of the abdomen, upper quadrant,
    upper portion of the abdomen, 上腹部, 上腹
place:liver < place:abdomen: liver, hepatic, liver parenchyma, intrahepatic, 肝, 肝脏
place:caudate < place:liver: caudate, caudate lobe, 尾状叶
place:left_liver < place:liver, side:left: left lobe of the liver, left lobe of liver, left hepatic lobe,
    liver left lobe, 肝左叶
place:right_liver < place:liver, side:right: right lobe of the liver, right lobe of liver, right hepatic lobe,
    liver right lobe, 肝右叶
place:liver_dome < place:liver, level:upper: liver dome, dome of the liver, hepatic dome, dome, 肝顶
place:subcapsular < zone:peripheral: subcapsular, capsular, 包膜下
place:falciform < place:liver: falciform ligament, falciform, 镰状韧带
place:perihepatic < place:abdomen: perihepatic, 肝周
place:gallbladder < place:abdomen: gallbladder, gall bladder, cholecystic, 胆囊
place:bile_duct < place:abdomen: bile duct, bile ducts, biliary, biliary tract, biliary tree, common bile duct,
    choledochus, intrahepatic bile ducts, 胆管, 胆道
place:spleen < place:abdomen: spleen, splenic, 脾, 脾脏
place:perisplenic < place:abdomen: perisplenic, 脾周
place:pancreas < place:abdomen: pancreas, pancreatic, 胰, 胰腺
place:kidney < place:abdomen: kidney, kidneys, renal, 肾, 肾脏, 腎
place:renal_pelvis < place:kidney: renal pelvis, pelvicalyceal, pelvicalyceal system, collecting system, calyx,
    calyceal, pelvicaliectasis, pelvicalyceal structures, renal collecting system, 肾盂, 肾盏
place:parapelvic < place:kidney: parapelvic, peripelvic, renal sinus, 肾盂旁
place:perirenal < place:kidney: perirenal, perinephric, 肾周
place:ureter < place:abdomen: ureter, ureters, ureteral, 输尿管
place:adrenal < place:abdomen: adrenal, adrenal gland, adrenal glands, suprarenal, adrenals, surrenal, 肾上腺
place:adrenal_body < place:adrenal: adrenal body, adrenal corpus, corpus of the adrenal
place:adrenal_limb < place:adrenal: adrenal limb, limb, crus of the adrenal, leg of the adrenal, lateral crus,
    medial crus, adrenal leg
place:stomach < place:abdomen: stomach, gastric, 胃
place:fundus < place:stomach: fundus, gastric fundus, 胃底
place:cardia < place:stomach: cardia, gastric cardia, 贲门
place:perigastric < place:abdomen: perigastric, 胃周
place:duodenum < place:bowel: duodenum, duodenal, 十二指肠
place:bowel < place:abdomen: bowel, bowels, intestine, intestines, intestinal, bowel loops, 肠, 肠管
place:colon < place:bowel: colon, colonic, hepatic flexure, splenic flexure, flexure, 结肠
place:appendix < place:bowel: appendix, 阑尾
place:rectum < place:bowel: rectum, rectal, 直肠
place:mesentery < place:abdomen: mesentery, mesenteric, 肠系膜
place:omentum < place:abdomen: omentum, omental, 网膜
place:peritoneum < place:abdomen: peritoneum, peritoneal, peritoneal cavity, 腹膜
place:retroperitoneum < place:abdomen: retroperitoneum, retroperitoneal, 腹膜后
place:celiac < place:abdomen: celiac, coeliac, celiac trunk, truncus coeliacus, 腹腔干
place:retrocaval < place:abdomen: retrocaval, aortocaval, interaortocaval, interaorthocaval
place:retrocrural: retrocrural, 膈脚后
place:paracolic < place:abdomen: paracolic, paracolic gutter, gutter
place:lymph_node: lymph node, lymph nodes, lymphatic, nodal, node, nodes, lap, enlarged lymph nodes,
    enlarged lymph node, lymphadenopathy, lymphadenopathies,
    lymphadenomegaly, adenopathy, lymph nodes enlargement, 淋巴结
place:bladder < place:pelvis: bladder, urinary bladder, 膀胱
place:wall: wall, walls, mural, intramural, 壁
place:lumen: lumen, lumens, luminal, intraluminal, endoluminal, 腔内
place:pole: pole, poles, 极
place:cortex: cortex, 皮质
place:junction: junction, 交界
place:corpus: corpus, body, bodies, corpora, 体部
place:parenchyma: parenchyma, parenchymal, intraparenchymal, 实质
place:fat: fat, fatty tissue, adipose, fat planes, fatty planes, 脂肪
"""
COMPOSED = {
    ("chest", "spine"): "thoracic_spine", ("chest", "aorta"): "thoracic_aorta", ("abdomen", "aorta"): "abdominal_aorta",
    ("neck", "spine"): "cervical_spine", ("upper", "abdomen"): "upper_abdomen", ("left", "ventricle"): "left_ventricle",
    ("right", "ventricle"): "right_ventricle", ("left", "atrium"): "left_atrium", ("right", "atrium"): "right_atrium",
    ("anterior", "mediastinum"): "anterior_mediastinum", ("posterior", "mediastinum"): "posterior_mediastinum",
    ("upper", "mediastinum"): "superior_mediastinum", ("middle", "mediastinum"): "middle_mediastinum",
    ("left", "liver"): "left_liver", ("right", "liver"): "right_liver",
}  # fmt: skip
"""Places by two words, one of them perhaps in the question: asked about the spine, `thoracic` is the thoracic spine."""
