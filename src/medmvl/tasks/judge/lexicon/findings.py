"""Findings and their synonyms. A line: `finding:name < implied claims: phrases`."""

FINDINGS = """
finding:nodule: nodule, nodules, nodular, nodular lesion, nodular lesions, micronodule, micronodules, nodularity,
    nodular formation, 结节
finding:mass: mass, masses, tumor, tumour, neoplasm, space occupying lesion, space occupying lesions, malignancy,
    cancer, carcinoma, 肿块, 占位, 肿瘤
finding:metastasis: metastasis, metastases, metastatic, 转移
finding:lesion: lesion, lesions, abnormality, finding, findings, 病灶, 病变
finding:ground_glass < finding:opacity: ground glass, ground glass opacity, ground glass opacities,
    ground glass density, ground glass densities, ground glass areas, ground glass attenuation,
    ground glass appearance, ggo, ggos, frosted glass, 磨玻璃, 毛玻璃, 磨玻璃影
finding:consolidation < finding:opacity: consolidation, consolidations, consolidative, consolidated,
    airspace disease, airspace consolidation, 实变
finding:opacity: opacity, opacities, density, densities, density increase, infiltrate, infiltrates, infiltration,
    infiltrations, infiltrative, increased density, density increases, 密度增高, 浸润, 阴影, 斑片影
finding:crazy_paving: crazy paving, crazy paving pattern, 铺路石
finding:tree_in_bud: tree in bud, tree and bud, budding tree, branches with buds, budding, bud, 树芽
finding:mosaic: mosaic, mosaic attenuation, mosaic pattern, mosaic attenuation pattern, mosaic perfusion, 马赛克
finding:atelectasis: atelectasis, atelectatic, atelectases, collapse, collapsed, compression atelectasis,
    atelectatic changes, linear atelectasis, subsegmental atelectasis, 不张, 肺不张, 膨胀不全
finding:fibrosis: fibrosis, fibrotic, fibroatelectatic, fibroatelectasis, fibroatelectases, fibrotic changes,
    fibrotic sequelae, reticulation, 纤维化, 纤维灶, 纤维索条
finding:sequela: sequela, sequelae, sequel, sequelae changes, scar, scarring, scars, pleuroparenchymal sequelae,
    pleuroparenchymal, 陈旧, 瘢痕
finding:emphysema < place:lung: emphysema, emphysematous, paraseptal emphysema, centrilobular emphysema,
    emphysematous changes, 肺气肿, 气肿
finding:bulla: bulla, bullae, bleb, blebs, bullous, air cyst, air cysts, 肺大疱, 大泡
finding:cyst: cyst, cysts, cystic, 囊肿, 囊
finding:bronchiectasis < place:bronchus: bronchiectasis, bronchiectatic, bronchiectases, bronchial dilatation,
    traction bronchiectasis, dilated bronchi, 支气管扩张
finding:bronchial_thickening < place:bronchus: bronchial wall thickening, peribronchial thickening,
    peribronchial thickenings, bronchial wall thickness increase, 支气管壁增厚
finding:honeycomb: honeycomb, honeycombing, 蜂窝
finding:cavity: cavity, cavitary, cavitation, cavitating, 空洞
finding:effusion: effusion, effusions, pleural effusion, pleural effusions, fluid, fluid collection, hydrothorax,
    pleural fluid, free fluid, 积液, 胸腔积液, 胸水
finding:ascites < place:abdomen: ascites, 腹水
finding:pneumothorax < place:pleura: pneumothorax, pneumothoraces, air in the pleural space, air in the pleural cavity,
    气胸
finding:thickening: thickening, thickenings, thickened, thickness increase, increased thickness, 增厚
finding:plaque: plaque, plaques, atheroma, atheromas, atheromatous, atheroma plaque, atheroma plaques,
    atheromatous plaques, atherosclerotic, atherosclerosis, 斑块, 粥样硬化
finding:calcification: calcification, calcifications, calcified, calcific, calcium, 钙化
finding:cardiomegaly < place:heart: cardiomegaly, enlarged heart, increased heart size, heart enlarged,
    enlarged cardiac silhouette, cardiac enlargement, enlargement of the heart, heart enlargement, 心影增大, 心脏增大
finding:aneurysm: aneurysm, aneurysmal, aneurysmatic, ectasia, ectatic, 动脉瘤
finding:dissection: dissection, 夹层
finding:thrombus: thrombus, thrombosis, embolism, embolus, emboli, filling defect, 血栓, 栓塞
finding:hernia: hernia, herniation, herniated, hiatal hernia, hiatus hernia, sliding hernia, 疝, 食管裂孔疝
finding:stone: stone, stones, calculus, calculi, lithiasis, 结石
finding:steatosis < place:liver: steatosis, hepatosteatosis, fatty liver, fatty infiltration, hepatic steatosis,
    脂肪肝
finding:hemangioma: hemangioma, hemangiomas, 血管瘤
finding:adenoma: adenoma, adenomas, 腺瘤
finding:lipoma: lipoma, lipomas, lipomatous, 脂肪瘤
finding:goiter < place:thyroid: goiter, goitre, multinodular goiter, 甲状腺肿
finding:fracture: fracture, fractures, fractured, 骨折
finding:scoliosis < place:spine: scoliosis, scoliotic, 侧弯
finding:kyphosis < place:spine: kyphosis, kyphotic, 后凸
finding:osteophyte: osteophyte, osteophytes, osteophytic, spur, spurs, spur formations, bridging,
    osteophyte formation, syndesmophyte, 骨赘, 骨刺, 骨质增生
finding:degeneration: degenerative, degeneration, degenerative changes, spondylosis, spondylitic, arthrosis, 退变,
    退行性变, 退行性
finding:lytic: lytic, destructive, destruction, lytic lesion, 溶骨, 骨质破坏
finding:sclerosis: sclerosis, sclerotic, bone island, bone islet, bone islets, 硬化, 骨岛
finding:height_loss < place:spine: height loss, loss of height, compression fracture, collapse fracture, wedging, 压缩
finding:hydronephrosis < place:renal_pelvis: hydronephrosis, hydronephrotic, pelvicalyceal dilatation,
    dilatation of the renal pelvis, ectasia of the pelvicalyceal system, 积水
finding:infection: infection, infectious, pneumonia, pneumonic, pneumonitis, inflammation, inflammatory, inflamed, covid,
    肺炎, 感染, 炎症
finding:tuberculosis: tuberculosis, tb, tuberculous, 结核
finding:edema: edema, oedema, edematous, swelling, swollen, congestion, 水肿
finding:hemorrhage: hemorrhage, hemorrhages, haemorrhage, hemorrhagic, hematoma, haematoma, bleeding, bleed, 出血, 血肿
finding:air: emphysema subcutaneous, air, gas, 气体, 积气
finding:air_bronchogram: air bronchogram, air bronchograms, 支气管充气征
finding:gynecomastia < place:breast: gynecomastia, 男性乳腺发育
finding:surgery: postoperative, operated, surgical, surgery, suture, sutures, clips, resection, sternotomy,
    mastectomy, lobectomy, 术后
finding:catheter: catheter, port, central venous catheter, port catheter, cvc, picc, 导管
finding:pacemaker: pacemaker, pacemaker electrode, electrodes, leads, icd, 起搏器
finding:stent: stent, stents, stented, 支架
finding:tube: tube, drain, tracheostomy, nasogastric tube, chest tube, endotracheal tube, 引流管, 插管
finding:prosthesis: prosthesis, prosthetic, implant, graft, endograft, 假体
finding:secretion: secretion, secretions, mucus, mucus plug, mucus plugs, plugging, 分泌物, 黏液栓
finding:air_trapping: air trapping, 空气潴留
finding:deviation: deviated, deviation, displaced, displacement, shift, shifted, pushed, 移位, 偏移
finding:stenosis: stenosis, stenotic, narrowing, narrowed, obstruction, obstructing, obstructs, 狭窄, 阻塞
finding:dilatation: dilatation, dilated, dilation, distended, wide, widened, enlargement, 扩张, 增宽
finding:band: band, bands, linear, linear density, strand, strands, linear bands, 条索, 线状
finding:retraction: retraction, retracted, traction, distortion, structural distortion, 牵拉, 扭曲
finding:volume_loss: volume loss, loss of volume, 容积缩小, 体积缩小
finding:contamination: contamination, stranding, fat stranding, smear, smearing, 渗出
"""
