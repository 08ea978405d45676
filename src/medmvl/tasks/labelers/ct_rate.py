"""The 18 abnormalities of CT-RATE (Hamamci et al., arXiv 2403.17834) by phrases, English and Chinese."""

from __future__ import annotations

from medmvl.tasks.labelers.rules import FindingRule, RuleLabeler

_VESSEL = r"(?:aort\w*|(?<!coronary )arter\w+|vascular|carotid\w*|supra-?aortic\w*|aortic arch)"

CT_RATE_FINDINGS: tuple[FindingRule, ...] = (
    FindingRule(
        "Medical material",
        (
            r"catheter\w*",
            r"stents?",
            r"pacemaker\w*",
            r"sternotomy",
            r"sutures?",
            r"suture materials?",
            r"surgical (?:clips?|materials?)",
            r"prosthe\w+",
            r"valve replacement",
            r"metallic",
            r"tracheostomy",
            r"cannula\w*",
            r"implants?",
            r"port (?:catheter|chamber)",
            r"endotracheal tube",
            r"nasogastric",
            r"drain(?:age)? tube",
            r"electrodes?",
            r"导管",
            r"支架",
            r"起搏器",
            r"金属",
            r"缝合",
            r"置管",
            r"引流管",
            r"植入",
        ),
    ),
    FindingRule(
        "Arterial wall calcification",
        (
            rf"calcif\w+[^.]{{0,80}}?{_VESSEL}",
            rf"{_VESSEL}[^.]{{0,60}}?calcif\w+",
            r"calcif\w+ (?:atheroma|atherosclero)\w*",
            r"atheroscler\w+",
            r"atheroma\w*",
            r"(?:主动脉|动脉壁|血管)[^，。]{0,8}钙化",
            r"动脉粥样硬化",
        ),
        others=(
            r"coronary (?:arter\w+ )?(?:wall )?(?:calcif\w+|atheroscler\w+|atheroma\w*)",
            r"冠状?动脉[^，。]{0,4}(?:钙化|粥样硬化)",
        ),
    ),
    FindingRule(
        "Cardiomegaly",
        (
            r"cardiomegal\w+",
            r"(?:heart|cardiac)(?: \w+){0,3} (?:is |are |appears? )?(?:\w+ )?(?:enlarged|increased|large)",
            r"enlarge(?:d|ment of)(?: the)? (?:heart|cardiac)",
            r"increase(?:d)? (?:in )?(?:the )?(?:heart|cardiac) (?:size|dimension)\w*",
            r"cardiothoracic (?:ratio|index)[^.]{0,30}increas\w+",
            r"心脏(?:影)?(?:增大|扩大)",
            r"心影(?:增大|扩大)",
        ),
    ),
    FindingRule(
        "Pericardial effusion",
        (
            r"pericardial(?:[ ,/]+(?:(?:and|or|and/or) )?pleural)? (?:effusion|fluid)\w*",
            r"pleural(?:,| and| or|/)+ ?pericardial effusion\w*",
            r"(?:fluid|effusion) in the pericardi\w+",
            r"hydropericardium",
            r"hemopericardium",
            r"心包(?:腔)?积液",
        ),
    ),
    FindingRule(
        "Coronary artery wall calcification",
        (
            r"coronary[^.]{0,60}?(?:calcif\w+|atheroscler\w+|atheroma\w*)",
            r"(?:calcif\w+|atheroscler\w+|atheroma\w*)[^.]{0,80}?coronary",
            r"冠状?动脉[^，。]{0,6}(?:钙化|粥样硬化)",
        ),
    ),
    FindingRule(
        "Hiatal hernia",
        (r"hiat\w+ hernia\w*", r"hernia\w* (?:of|in) the (?:stomach|esophageal hiatus)", r"食管裂孔疝"),
    ),
    FindingRule(
        "Lymphadenopathy",
        (
            r"lymphadeno(?:path|megal)\w+",
            r"adenopath\w+",
            r"enlarged(?: \w+){0,4} (?:lymph nodes?|lymph glands?)",
            r"(?:lymph nodes?|lymph glands?)[^.]{0,60}?(?:enlarged|pathologic\w* (?:size|dimension|appearance)\w*)",
            r"enlargement of (?:the )?lymph nodes?",
            r"pathologic\w*(?: \w+){0,2} lymph nodes?",
            r"淋巴结(?:肿大|增大)",
            r"肿大淋巴结",
        ),
    ),
    FindingRule(
        "Emphysema",
        (r"emphysem\w+", r"bull(?:a|ae|ous)", r"肺气肿", r"肺大[疱泡]"),
        others=(r"subcutaneous emphysema", r"皮下气肿"),
    ),
    FindingRule(
        "Atelectasis",
        (
            r"(?:fibro)?atelecta\w+",
            r"collapse of (?:the )?(?:\w+ ){0,3}(?:lobe|lung)",
            r"肺?不张",
            r"膨胀不全",
        ),
    ),
    FindingRule(
        "Lung nodule",
        (r"(?:micro)?nodul\w+", r"结节"),
        others=(
            r"(?:thyroid|adrenal|hepatic|liver|breast|renal|splenic)[^.]{0,40}?nodul\w+",
            r"nodul\w+ (?:\w+ ){0,4}(?:thyroid|adrenal|liver|breast)",
            r"(?:甲状腺|肾上腺|肝|乳腺)[^，。]{0,6}结节",
        ),
    ),
    FindingRule(
        "Lung opacity",
        (
            r"opaci(?:ty|ties|fication\w*)",
            r"ground[- ]glass",
            r"infiltrat\w+",
            r"densit(?:y|ies) increases?",
            r"increased densit(?:y|ies)",
            r"crazy paving",
            r"frosted glass",
            r"磨玻璃",
            r"密度增高影",
            r"浸润",
            r"斑片影",
        ),
    ),
    FindingRule(
        "Pulmonary fibrotic sequela",
        (
            r"fibro(?:sis|tic)\w*",
            r"fibroatelecta\w+",
            r"sequela\w*",
            r"scar(?:s|ring)?",
            r"cicatri\w+",
            r"纤维(?:化|灶|条索)",
            r"条索",
            r"陈旧",
        ),
    ),
    FindingRule(
        "Pleural effusion",
        (
            r"pleural(?:[ ,/]+(?:(?:and|or|and/or) )?pericardial)? (?:effusion|fluid)\w*",
            r"pericardial(?:,| and| or|/)+ ?pleural (?:effusion|fluid)\w*",
            r"(?:fluid|effusion)s? in (?:the |both |bilateral )?(?:\w+ )?pleura\w*",
            r"h(?:a)?emothorax",
            r"hydrothorax",
            r"胸腔积液",
            r"胸水",
            r"胸膜腔积液",
        ),
    ),
    FindingRule("Mosaic attenuation pattern", (r"mosaic", r"马赛克")),
    FindingRule(
        "Peribronchial thickening",
        (
            r"(?:peri)?bronch\w*(?: wall)? thick\w+",
            r"thick\w+ (?:of|in) (?:the )?(?:peri)?bronch\w+",
            r"thick\w+ of (?:the )?walls? of (?:the )?bronch\w+",
            r"支气管(?:管?壁|周围)?增厚",
        ),
    ),
    FindingRule("Consolidation", (r"consolidat\w+", r"实变")),
    FindingRule(
        "Bronchiectasis",
        (
            r"bronchi(?:ol)?ectas\w+",
            r"bronchiectatic",
            r"bronch\w+ (?:dilat\w+|enlargement)",
            r"dilat\w+ of (?:the )?bronch\w+",
            r"支气管扩张",
        ),
    ),
    FindingRule(
        "Interlobular septal thickening",
        (
            r"(?:inter)?lobular septal? thick\w+",
            r"septal thick\w+",
            r"thick\w+ (?:of|in) (?:the )?(?:inter)?lobular sept\w+",
            r"septa\w*[^.]{0,20} thickened",
            r"小叶间隔增厚",
        ),
    ),
)


def ct_rate_labeler() -> RuleLabeler:
    """Labels reports with the 18 abnormalities, under CT-RATE's names."""
    return RuleLabeler(CT_RATE_FINDINGS)
