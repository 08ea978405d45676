"""Sides, levels, depths and distances: where something lies. A line: `facet:value < implied claims: phrases`."""

DIRECTIONS = """
side:left: left, left sided, left side, lt, on the left, leftward, levo, 左, 左侧, 左边, 左側
side:right: right, right sided, right side, rt, rightward, dextro, 右, 右侧, 右边, 右側
side:both: bilateral, bilaterally, both sides, both, either side, two sides, each side, on both sides,
    biventricular, biapical, bibasal, bibasilar, bihilar, 双侧, 双, 两侧, 两, 雙側, 兩側, 左右
side:both < place:lung: both lungs, both lung fields, 双肺, 两肺
side:both < place:kidney: both kidneys, 双肾
side:one: unilateral, unilaterally, one side, one sided, single side, one lung, confined to one side, ipsilateral,
    单侧, 一侧, 單側
side:middle: midline, median, in the midline, on the midline, mid line, centre of the body, 中线, 正中, 居中, 中線
side:none: neither, neither side

level:upper: upper, superior, superiorly, cranial, cranially, cephalad, up, top, upward, supero, superolateral,
    superomedial, 上, 上部, 上方, 上段, 头侧, 头端
level:middle: middle, mid, midzone, mid zone, middle third, 中, 中部, 中段
level:lower: lower, inferior, inferiorly, caudal, caudally, down, bottom, downward, infero, dependent, 下, 下部,
    下方, 下段, 足侧, 尾侧
level:upper < rel:above: above, over, superior to, cranial to, higher than, on top of, 之上, 以上
level:lower < rel:below: below, beneath, under, underneath, inferior to, caudal to, lower than, 之下, 以下
zone:apex < level:upper: apex, apices, apexes, apical, apically, apico, lung apex, 尖, 肺尖, 尖段
zone:base < level:lower: base, bases, basal, basally, basilar, basals, basis, lung base, 底, 肺底, 基底, 基底段, 底段

depth:anterior: anterior, anteriorly, ventral, ventrally, front, in front of, frontal, anteriors, antero,
    anterior to, 前, 前方, 前部, 前段, 腹侧, 前侧
depth:posterior: posterior, posteriorly, dorsal, dorsally, back, behind, posteriors, postero, posterior to, rear,
    后, 后方, 后部, 后段, 背侧, 背段, 後, 后侧
course:medial: medial, medially, inner, mesial, medially located, inner part, 内侧, 内, 内侧段, 內側
course:lateral: lateral, laterally, outer, outer part, lateral to, 外侧, 外, 外侧段, 外側
zone:central: central, centrally, center, centre, centrally located, central part, 中央, 中心, 中央型
zone:peripheral: peripheral, peripherally, periphery, peripherals, cortical, outer third, 外周, 周围, 周边, 外带,
    周围型, 外围
zone:subpleural < zone:peripheral: subpleural, sub pleural, subpleurally, pleural based, pleura based,
    juxtapleural, adjacent to the pleura, 胸膜下, 近胸膜
zone:hilar < zone:central: hilar, hilum, hila, perihilar, parahilar, hilus, hilar region, hiler, 肺门, 門部, 肺門
zone:peribronchial: peribronchial, peribronchovascular, bronchovascular, parabronchial, 支气管周围, 支气管血管束
zone:perifissural: perifissural, perifissure, fissural, fissure based, 叶间裂旁
zone:paramediastinal: paramediastinal, 纵隔旁

seg:superior: superior segment, superior segments, 背段
seg:lower_superior < seg:superior, level:lower: lower lobe superior, superior lower lobe,
    lower lobe superior segment, superior segment of the lower lobe, superior segment of lower lobe,
    superior basal
seg:apicoposterior < zone:apex, depth:posterior, side:left, level:upper, place:lung: apicoposterior,
    apicoposterior segment, apico posterior, 尖后段
seg:posterobasal < zone:base, depth:posterior: posterobasal, postero basal, posterior basal, posterobasales,
    posterobases, 后基底段, 后底段
seg:anterobasal < zone:base, depth:anterior: anterobasal, antero basal, anterior basal, 前基底段, 前底段
seg:laterobasal < zone:base, course:lateral: laterobasal, latero basal, lateral basal, 外基底段, 外底段
seg:mediobasal < zone:base, course:medial: mediobasal, medio basal, medial basal, 内基底段, 内底段
seg:anteromediobasal < zone:base, course:medial, depth:anterior, side:left: anteromediobasal, anteromedial basal,
    antero medial basal, 前内基底段
seg:lingula < side:left, level:upper, place:lung: lingula, lingular, lingula segment, lingular segment,
    lingular segments, lingulas, 舌段, 舌叶
seg:lingula_superior < seg:lingula: superior lingula, superior lingular, superior lingular segment,
    lingula superior, lingular superior, 上舌段
seg:lingula_inferior < seg:lingula: inferior lingula, inferior lingular, inferior lingular segment,
    lingula inferior, lingular inferior, linguloinferior, inferior lingular subsegment, 下舌段
depth:anterior < course:lateral: anterolateral, anterolaterally, antero lateral, 前外侧
depth:anterior < course:medial: anteromedial, antero medial, 前内侧
depth:posterior < course:lateral: posterolateral, posterolaterally, postero lateral, 后外侧
depth:posterior < course:medial: posteromedial, postero medial, 后内侧

lobes:all < side:left, side:right, level:upper, level:middle, level:lower, place:lung: all lobes, all lung lobes,
    all five lobes, every lobe, all segments, all zones, all lung zones, all lung fields, entire lung,
    entire lungs, whole lung, throughout both lungs, 所有肺叶, 全肺, 各叶
lobe:lobe < place:lung: lobe, lobes, lobar, 叶
side:right < level:upper, lobe:lobe, place:lung: rul, 右上叶
side:right < level:middle, lobe:lobe, place:lung: rml, right middle lobe, 右中叶, 右肺中叶
side:right < level:lower, lobe:lobe, place:lung: rll, 右下叶
side:left < level:upper, lobe:lobe, place:lung: lul, 左上叶
side:left < level:lower, lobe:lobe, place:lung: lll, 左下叶

extent:diffuse: diffuse, diffusely, widespread, throughout, extensive, generalized, generalised, disseminated,
    entire, whole, all, all over, diffuse distribution, multilobar, multisegmental, 弥漫, 广泛, 全部, 瀰漫, 弥散
extent:focal: focal, localized, localised, circumscribed, solitary, single focus, limited, confined, focally, 局限,
    局灶, 孤立, 单发
extent:patchy: patchy, scattered, multifocal, several places, in places, spotty, 斑片, 散在, 多发
extent:segmental: segmental, subsegmental
"""
