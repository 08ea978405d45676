"""The 14 observations of CheXpert (Irvin et al., AAAI 2019) by phrases, English and Chinese. Uncertain counts as present."""

from __future__ import annotations

from medmvl.tasks.labelers.rules import FindingRule, RuleLabeler

CHEXPERT_FINDINGS: tuple[FindingRule, ...] = (
    FindingRule(
        "Enlarged Cardiomediastinum",
        (
            r"(?:cardio)?mediastin\w+(?: \w+){0,3} (?:is |are |appears? )?(?:\w+ )?(?:enlarged|widened|prominent)",
            r"(?:widen\w+|enlarge\w+) (?:of )?(?:the )?(?:cardio)?mediastin\w+",
            r"纵隔(?:影)?增宽",
        ),
    ),
    FindingRule(
        "Cardiomegaly",
        (
            r"cardiomegal\w+",
            r"(?:heart|cardiac)(?: \w+){0,3} (?:is |are |appears? )?(?:\w+ )?(?:enlarged|increased|large)",
            r"enlarge(?:d|ment of)(?: the)? (?:heart|cardiac)",
            r"心脏(?:影)?(?:增大|扩大)",
            r"心影(?:增大|扩大)",
        ),
    ),
    FindingRule(
        "Lung Lesion",
        (
            r"(?:micro)?nodul\w+",
            r"mass(?:es)?",
            r"(?:lung|pulmonary) lesions?",
            r"tumou?rs?",
            r"metastas\w+",
            r"granulomas?",
            r"cavit\w+",
            r"结节",
            r"肿块",
        ),
        others=(r"massive", r"thyroid[^.]{0,40}?nodul\w+"),
    ),
    FindingRule(
        "Lung Opacity",
        (
            r"opaci(?:ty|ties|fication\w*)",
            r"infiltrat\w+",
            r"airspace disease",
            r"interstitial (?:markings|prominence|thickening)",
            r"(?:dens|hazi)(?:e|ity|ities|ness) (?:area|in the lung)\w*",
            r"斑片影",
            r"密度增高影",
            r"浸润",
        ),
    ),
    FindingRule(
        "Edema",
        (
            r"(?:o)?edema",
            r"(?:pulmonary )?vascular congestion",
            r"congestive (?:heart )?failure",
            r"chf",
            r"vascular prominence",
            r"肺水肿",
            r"肺淤血",
        ),
    ),
    FindingRule("Consolidation", (r"consolidat\w+", r"实变")),
    FindingRule("Pneumonia", (r"(?:broncho)?pneumonia\w*", r"infectious process", r"肺炎")),
    FindingRule(
        "Atelectasis",
        (r"atelecta\w+", r"collapse of (?:the )?(?:\w+ ){0,3}(?:lobe|lung)", r"volume loss", r"肺?不张"),
    ),
    FindingRule("Pneumothorax", (r"(?:hydro)?pneumothora(?:x|ces)", r"气胸")),
    FindingRule(
        "Pleural Effusion",
        (
            r"(?:pleural )?effusions?",
            r"pleural fluid",
            r"blunt\w+ (?:of )?(?:the )?(?:\w+ ){0,2}costophrenic",
            r"costophrenic (?:angle|sulcus)\w*(?: \w+){0,3} blunt\w+",
            r"胸腔积液",
            r"胸水",
        ),
        others=(r"pericardial effusions?", r"心包积液"),
    ),
    FindingRule(
        "Pleural Other",
        (
            r"pleural (?:thickening|plaques?|scarring|calcification)\w*",
            r"fibrothorax",
            r"胸膜增厚",
            r"胸膜钙化",
        ),
    ),
    FindingRule("Fracture", (r"fractur\w+", r"骨折")),
    FindingRule(
        "Support Devices",
        (
            r"catheter\w*",
            r"(?:endotracheal|nasogastric|enteric|feeding|tracheostomy|chest|et|ng) tubes?",
            r"pacemaker\w*",
            r"pacer",
            r"(?:picc|central venous|ij|subclavian) lines?",
            r"sternotomy wires?",
            r"stents?",
            r"icd",
            r"defibrillator",
            r"leads?",
            r"prosthe\w+",
            r"tracheostomy",
            r"port-?a-?cath",
            r"导管",
            r"起搏器",
            r"引流管",
            r"置管",
        ),
    ),
)


def chexpert_labeler() -> RuleLabeler:
    """Labels reports with the 14 observations; `No Finding` is 1 where nothing but support devices is there."""
    return RuleLabeler(CHEXPERT_FINDINGS, nothing="No Finding", uncounted=("Support Devices",))
