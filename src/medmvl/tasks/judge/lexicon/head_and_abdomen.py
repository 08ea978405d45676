"""Head, abdomen and pelvis: places and findings outside of the chest. A line: `facet:name < implied claims: phrases`."""

HEAD_AND_ABDOMEN = """
place:head: head, 头, 头部, 头颅
place:brain < place:head: brain, brains, cerebral, intracranial, 脑, 颅, 颅内
place:cerebrum < place:brain: cerebrum
place:hemisphere < place:brain: hemisphere, hemispheres, cerebral hemisphere, cerebral hemispheres, 大脑半球, 半球
place:frontal_lobe < place:brain: frontal lobe, frontal lobes, 额叶
place:temporal_lobe < place:brain: temporal lobe, temporal lobes, temporal, 颞叶
place:parietal_lobe < place:brain: parietal lobe, parietal lobes, parietal, 顶叶
place:occipital_lobe < place:brain: occipital lobe, occipital lobes, occipital, 枕叶
place:insula < place:brain: insula, insular, insular lobe, 岛叶
place:cerebellum < place:brain: cerebellum, cerebellar, cerebellar hemisphere, cerebellar hemispheres, 小脑
place:brainstem < place:brain: brainstem, brain stem, 脑干
place:pons < place:brainstem: pons, pontine, 脑桥, 桥脑
place:midbrain < place:brainstem: midbrain, mesencephalon, 中脑
place:medulla < place:brainstem: medulla oblongata, medulla, 延髓
place:thalamus < place:brain: thalamus, thalami, thalamic, 丘脑
place:basal_ganglia < place:brain: basal ganglia, basal ganglion, lentiform nucleus, 基底节, 基底节区
place:corpus_callosum < place:brain: corpus callosum, callosal, 胼胝体
place:hippocampus < place:temporal_lobe: hippocampus, hippocampal, hippocampi, 海马
place:brain_ventricle < place:brain: lateral ventricle, lateral ventricles, third ventricle, fourth ventricle,
    cerebral ventricle, cerebral ventricles, intraventricular, periventricular, 脑室, 侧脑室
place:white_matter < place:brain: white matter, 白质
place:gray_matter < place:brain: gray matter, grey matter, 灰质
place:sella < place:brain: sella, sellar, sella turcica, 蝶鞍, 鞍区
place:suprasellar < place:brain: suprasellar, above the sella, above the sella turcica, suprasellar cistern, 鞍上
place:pituitary < place:sella: pituitary, pituitary gland, hypophysis, 垂体
place:posterior_fossa < place:brain: posterior fossa, posterior cranial fossa, 后颅窝
place:meninges < place:brain: meninges, meningeal, leptomeningeal, dura, 脑膜
place:skull < place:head, place:bone: skull, calvarium, calvarial, cranium, 颅骨
place:orbit < place:head: orbit, orbits, orbital, 眼眶
place:eye < place:orbit: eye, eyes, globe, ocular, 眼, 眼球
place:paranasal_sinus < place:head: paranasal sinus, paranasal sinuses, sinuses, 鼻窦
place:maxillary_sinus < place:paranasal_sinus: maxillary sinus, maxillary sinuses, 上颌窦
place:parietal_pleura < place:pleura: parietal pleura
place:lower_abdomen < place:abdomen: lower abdomen, lower quadrant, 下腹部, 下腹
side:right < place:upper_abdomen: ruq, right upper quadrant, 右上腹
side:left < place:upper_abdomen: luq, left upper quadrant, 左上腹
side:right < place:lower_abdomen: rlq, right lower quadrant, 右下腹
side:left < place:lower_abdomen: llq, left lower quadrant, 左下腹
place:pancreas_head < place:pancreas: pancreatic head, head of the pancreas, head of pancreas, 胰头
place:pancreas_tail < place:pancreas: pancreatic tail, tail of the pancreas, tail of pancreas, 胰尾
place:small_bowel < place:bowel: small bowel, small intestine, small intestines, jejunum, jejunal, ileum, ileal, 小肠
place:colon < place:bowel: large intestine, large bowel, 大肠
place:cecum < place:colon: cecum, caecum, cecal, 盲肠
place:sigmoid < place:colon: sigmoid, sigmoid colon, 乙状结肠
place:uterus < place:pelvis: uterus, uterine, womb, 子宫
place:ovary < place:pelvis: ovary, ovaries, ovarian, adnexa, adnexal, 卵巢
place:prostate < place:pelvis: prostate, prostatic, prostate gland, 前列腺
place:testis: testis, testes, testicle, testicles, testicular, 睾丸
place:femur < place:bone: femur, femoral, femurs, femoral head, 股骨
place:hip: hip, hips, hip joint, 髋
place:knee: knee, knees, knee joint, 膝, 膝关节
depth:posterior < place:heart: retrocardiac, behind the heart

finding:subdural_hemorrhage < finding:hemorrhage, place:brain: subdural hematoma, subdural haematoma,
    subdural hemorrhage, subdural haemorrhage, subdural hematomas, subdural, sdh, 硬膜下血肿, 硬膜下出血
finding:epidural_hemorrhage < finding:hemorrhage, place:brain: epidural hematoma, epidural haematoma,
    epidural hemorrhage, extradural hematoma, extradural haematoma, extradural hemorrhage, epidural, edh, 硬膜外血肿
finding:subarachnoid_hemorrhage < finding:hemorrhage, place:brain: subarachnoid hemorrhage, subarachnoid haemorrhage,
    subarachnoid bleed, sah, 蛛网膜下腔出血
finding:intracerebral_hemorrhage < finding:hemorrhage, place:brain: intracerebral hemorrhage, intracerebral haemorrhage,
    intracerebral hematoma, 脑出血, 脑内出血
finding:stroke: stroke, strokes, cva, cerebrovascular accident, 中风, 卒中
finding:infarct < finding:stroke: infarct, infarcts, infarction, infarctions, ischemic infarct, ischemia,
    ischaemia, ischemic, ischaemic, 梗死, 梗塞
finding:brain_infarct < finding:infarct, place:brain: cerebral infarct, cerebral infarction, brain infarct,
    ischemic stroke, ischaemic stroke, 脑梗死, 脑梗塞, 缺血性卒中
finding:hemorrhagic_stroke < finding:hemorrhage, finding:stroke, place:brain: hemorrhagic stroke, haemorrhagic stroke,
    出血性卒中
finding:hydrocephalus < place:brain: hydrocephalus, ventriculomegaly, 脑积水
finding:atrophy: atrophy, 萎缩
finding:glioma < finding:mass, place:brain: glioma, gliomas, 胶质瘤
finding:glioblastoma < finding:glioma: glioblastoma, glioblastoma multiforme, gbm, 胶质母细胞瘤
finding:meningioma < finding:mass, place:brain: meningioma, meningiomas, 脑膜瘤
finding:abscess < finding:infection: abscess, abscesses, 脓肿
finding:gallstone < finding:stone, place:gallbladder: gallstone, gallstones, cholelithiasis, cholecystolithiasis,
    胆结石, 胆囊结石, 胆石
finding:kidney_stone < finding:stone, place:kidney: nephrolithiasis, kidney stone, kidney stones, renal stone,
    renal stones, renal calculus, renal calculi, 肾结石
finding:cholecystitis < finding:infection, place:gallbladder: cholecystitis, 胆囊炎
finding:appendicitis < finding:infection, place:appendix: appendicitis, inflamed appendix, 阑尾炎
finding:pancreatitis < finding:infection, place:pancreas: pancreatitis, 胰腺炎
finding:colitis < finding:infection, place:colon: colitis, 结肠炎
finding:diverticulosis < place:bowel: diverticulosis, diverticula, diverticulum, diverticular, 憩室
finding:diverticulitis < finding:diverticulosis, finding:infection: diverticulitis, 憩室炎
finding:bowel_obstruction < place:bowel, finding:stenosis: bowel obstruction, intestinal obstruction, 肠梗阻
finding:small_bowel_obstruction < finding:bowel_obstruction, place:small_bowel: small bowel obstruction, sbo,
    小肠梗阻
finding:pneumoperitoneum < finding:air, place:abdomen: pneumoperitoneum, intraperitoneal free air, free air
finding:pneumomediastinum < finding:air, place:mediastinum: pneumomediastinum, 纵隔气肿
finding:cirrhosis < place:liver: cirrhosis, cirrhotic, 肝硬化
finding:hepatomegaly < place:liver: hepatomegaly, enlarged liver, 肝大, 肝肿大
finding:splenomegaly < place:spleen: splenomegaly, enlarged spleen, 脾大, 脾肿大
finding:abdominal_aortic_aneurysm < finding:aneurysm, place:abdominal_aorta: abdominal aortic aneurysm, aaa,
    aneurysm of the abdominal aorta, 腹主动脉瘤
finding:pulmonary_embolism < finding:thrombus, place:lung: pulmonary embolism, pulmonary emboli, pulmonary embolus, pe,
    肺栓塞
finding:dislocation: dislocation, dislocated, subluxation, 脱位
finding:hypothyroidism < place:thyroid: hypothyroidism
finding:hyperthyroidism < place:thyroid: hyperthyroidism
"""
