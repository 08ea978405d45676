"""How something is: normal or not, size, degree, shape, number words. A line: `facet:value: phrases`."""

QUALITIES = """
state:normal: normal, normally, unremarkable, preserved, natural, within normal limits, regular, intact,
    physiological, normal limits, not enlarged, no abnormality, no abnormalities,
    nothing abnormal, clear,
    maintained, 正常, 未见异常, 无异常
state:abnormal: abnormal, pathological, pathologic, pathologically, abnormally, 异常
state:open: open, patent, clear lumen, free, unobstructed, 通畅, 开放
state:closed: closed, occluded, obstructed, obliterated, 闭塞
size:large: large, enlarged, larger, increased, big, prominent, huge, giant, dilated, increase, enlargement,
    hypertrophic, 增大, 大, 增加, 肿大
size:small: small, tiny, millimetric, milimetric, smaller, little, millimeter, millimetre, subcentimetric,
    subcentimeter, punctate, few millimeters, 小, 微小, 细小
size:reduced: decreased, reduced, decrease, narrowed, loss, thinner, reduction, diminished, shrunken, atrophic,
    atrophy, 减低, 缩小, 减少, 降低
degree:mild: mild, mildly, minimal, minimally, slight, slightly, subtle, faint, trace, 轻度, 少量, 轻微, 微量, 稍
degree:moderate: moderate, moderately, medium, 中度, 中等
degree:severe: severe, severely, marked, markedly, massive, pronounced, advanced, significant, significantly, 重度,
    大量, 明显, 显著
change:stable: stable, unchanged, no change, same, similar, 稳定, 无变化, 相似
change:more: progressed, progression, increasing, growing, grown, worsened, 进展, 增多
change:less: regressed, regression, decreasing, improved, resolved, 吸收, 好转
symmetry:symmetric: symmetric, symmetrical, symmetrically, equal, equally, 对称
symmetry:asymmetric: asymmetric, asymmetrical, asymmetrically, unequal, 不对称
nature:malignant: malignant, cancerous, 恶性
nature:benign: benign, non malignant, noncancerous, 良性
edge:irregular: irregular, spiculated, lobulated, ill defined, indistinct, 不规则, 分叶, 毛刺
edge:smooth: smooth, well defined, well circumscribed, sharply, regular borders, 光滑, 清楚
matter:solid: solid, 实性
matter:semisolid: semisolid, part solid, subsolid, semi solid, 部分实性
matter:hypodense: hypodense, hypodensity, low density, hypoattenuating, low attenuation, 低密度
matter:hyperdense: hyperdense, hyperdensity, high density, hyperattenuating, 高密度
matter:fluid: fluid density, fluid attenuation, 液性
shape:round: round, rounded, oval, nodular shaped, spherical, 圆形, 类圆形, 椭圆
shape:fusiform: fusiform, 梭形
count:one: single, one, solitary, only one, a single, 一个, 单个, 1个
count:two: two, pair, a pair, couple, 两个, 2个
count:many: multiple, several, numerous, many, few, a few, some, multifocal, more than one, various, occasional,
    多个, 多发, 数个, 若干, 几个
direction:convex: convex, convexity, facing, opening, 凸
"""
_UNCOUNTED = """
a an the of in on at to is are was were be been being with and or for from by as into that this these those it
its they them their there which who where what when how both has have had do does did than then area areas
region regions level levels location located localization localizations localized part parts portion portions
side sides aspect zone zones structure structures section sections site sites place position positioned space
spaces field fields half halves station stations compartment compartments localisation vicinity neighborhood
seen observed noted detected found identified present visible shown shows show appear appears appearance evident
demonstrated measured measuring measures segment segments subsegment subsegments lobe lobes quadrant gland
glands organ organs changes change image images ct scan report findings study examination described included
specifically especially more most mostly predominantly prominent prominently particularly mainly primarily
adjacent near within along around between towards toward through next close extending extends extend reaching
involving involved involve affecting affected confined up not no yes also only just but while so any other all
each about approximately approximate cm mm x s t type size sized diameter dimension dimensions thickness length
width deepest widest largest longest short long axis entering distribution distributed pattern current patient
pulmonary sided surface surfaces aspects specified imaged can could may will would should if whether very well
end ends entry entrance surrounding related including containing consistent compatible suggestive th st nd rd i
you we here sure seg d m 的 在 于 位 是 有 见 可 处 区 域 和 及 与 为 之 个 性 影 示 部 侧 段 叶 了 呈 其 约 该
内 间 面 方
"""
UNCOUNTED = frozenset(_UNCOUNTED.split())
"""Words that make no claim."""
