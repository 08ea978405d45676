"""What phantoms say, English next to Chinese: questions in several phrasings, answers, report sentences."""

from __future__ import annotations

LANGUAGES = ("en", "zh")

Phrasings = dict[str, tuple[str, ...]]
"""Language to the ways of saying one thing."""

YES_NO = {"en": ("yes", "no"), "zh": ("是", "否")}

PLACES: dict[str, dict[str, str]] = {
    "right": {"en": "right", "zh": "右侧"},
    "left": {"en": "left", "zh": "左侧"},
    "right upper lobe": {"en": "right upper lobe", "zh": "右肺上叶"},
    "right middle lobe": {"en": "right middle lobe", "zh": "右肺中叶"},
    "right lower lobe": {"en": "right lower lobe", "zh": "右肺下叶"},
    "left upper lobe": {"en": "left upper lobe", "zh": "左肺上叶"},
    "left lower lobe": {"en": "left lower lobe", "zh": "左肺下叶"},
    "coronary": {"en": "coronary arteries", "zh": "冠状动脉"},
    "aortic": {"en": "aorta", "zh": "主动脉"},
    "": {"en": "", "zh": ""},
}

FINDING_NAMES: dict[str, dict[str, str]] = {
    "nodule": {"en": "pulmonary nodule", "zh": "肺结节"},
    "effusion": {"en": "pleural effusion", "zh": "胸腔积液"},
    "cardiomegaly": {"en": "cardiomegaly", "zh": "心脏增大"},
    "pneumothorax": {"en": "pneumothorax", "zh": "气胸"},
    "consolidation": {"en": "consolidation", "zh": "肺实变"},
    "calcification": {"en": "vascular calcification", "zh": "血管钙化"},
    "emphysema": {"en": "emphysema", "zh": "肺气肿"},
    "atelectasis": {"en": "atelectasis", "zh": "肺不张"},
    "hiatal_hernia": {"en": "hiatal hernia", "zh": "食管裂孔疝"},
    "lymphadenopathy": {"en": "mediastinal lymphadenopathy", "zh": "纵隔淋巴结肿大"},
}

COUNTABLE = {"nodule": "a", "effusion": "a", "pneumothorax": "a", "hiatal_hernia": "a"}
"""English article in a question whether there is one."""

CHANGES: dict[str, dict[str, str]] = {
    "new": {"en": "new", "zh": "新发"},
    "larger": {"en": "larger", "zh": "增大"},
    "unchanged": {"en": "unchanged", "zh": "无变化"},
    "smaller": {"en": "smaller", "zh": "缩小"},
    "resolved": {"en": "resolved", "zh": "已消失"},
}

PRESENCE_QUESTIONS: Phrasings = {
    "en": (
        "Is there {name}?",
        "Does this {study} show {name}?",
        "Can {name} be seen here?",
        "Is {name} present?",
    ),
    "zh": ("是否有{name}？", "这张{study}是否显示{name}？", "图中是否可见{name}？", "是否存在{name}？"),
}
LOBE_QUESTIONS: Phrasings = {
    "en": ("Which lobe shows the {name}?", "In which lobe is the {name}?", "Where is the {name}, by lobe?"),
    "zh": ("{name}位于哪个肺叶？", "哪个肺叶可见{name}？", "请指出{name}所在的肺叶。"),
}
SIDE_QUESTIONS: Phrasings = {
    "en": ("On which side is the {name}?", "Which side shows the {name}?", "Is the {name} right or left?"),
    "zh": ("{name}位于哪一侧？", "哪一侧可见{name}？", "{name}在左侧还是右侧？"),
}
SITE_QUESTIONS: Phrasings = {
    "en": ("Which vessel is calcified?", "Where is the {name}?"),
    "zh": ("哪处血管有钙化？", "{name}位于哪里？"),
}
SIZE_QUESTIONS: dict[str, Phrasings] = {
    "diameter_mm": {
        "en": ("How large is the {name}, in millimetres?", "What is the diameter of the {name} in mm?"),
        "zh": ("{name}有多大（毫米）？", "{name}的直径是多少毫米？"),
    },
    "volume_ml": {
        "en": (
            "How much fluid does the {name} hold, in millilitres?",
            "What is the volume of the {name} in ml?",
        ),
        "zh": ("{name}约有多少毫升？", "{name}的体积是多少毫升？"),
    },
    "cardiothoracic_ratio": {
        "en": ("What is the cardiothoracic ratio?", "How wide is the heart relative to the chest?"),
        "zh": ("心胸比是多少？", "心脏与胸廓的宽度之比是多少？"),
    },
}
SIZE_ANSWERS = {
    "diameter_mm": {"en": "{size:.0f} mm", "zh": "{size:.0f}毫米"},
    "volume_ml": {"en": "{size:.0f} ml", "zh": "{size:.0f}毫升"},
    "cardiothoracic_ratio": {"en": "{size:.2f}", "zh": "{size:.2f}"},
}
LIST_QUESTIONS: Phrasings = {
    "en": ("What is abnormal?", "List the findings.", "Which abnormalities do you see?"),
    "zh": ("有哪些异常？", "请列出所见异常。", "你看到哪些病变？"),
}
REPORT_QUESTIONS: Phrasings = {
    "en": ("Write a short report.", "Describe this {study}.", "Please report the findings."),
    "zh": ("请写一份简短的报告。", "请描述这张{study}。", "请报告影像所见。"),
}
CHANGE_QUESTIONS: Phrasings = {
    "en": (
        "The second study is {days} days older. How has the {name} changed since?",
        "Compared with the second study, {days} days before, what became of the {name}?",
    ),
    "zh": ("第二份检查早{days}天。此后{name}有何变化？", "与{days}天前的第二份检查相比，{name}如何变化？"),
}
CHOICES_INTRODUCTION = {"en": " Choose one: {choices}.", "zh": "请选择：{choices}。"}
CHOICE = {"en": "({letter}) {text}", "zh": "({letter}) {text}"}
SEPARATOR = {"en": ", ", "zh": "、"}
CHOICE_SEPARATOR = {"en": " ", "zh": " "}
NOTHING = {"en": "none", "zh": "无"}
STUDY_NAMES = {"ct": {"en": "chest CT", "zh": "胸部CT"}, "xray": {"en": "chest X-ray", "zh": "胸片"}}

PRESENT_SENTENCES: dict[str, Phrasings] = {
    "nodule": {
        "en": ("Nodule in the {place}.", "There is a nodule in the {place}."),
        "zh": ("{place}结节。", "{place}可见结节。"),
    },
    "effusion": {
        "en": ("Pleural effusion on the {place}.", "There is {place} pleural effusion."),
        "zh": ("{place}胸腔积液。", "{place}可见胸腔积液。"),
    },
    "cardiomegaly": {
        "en": ("Cardiomegaly.", "The heart is enlarged."),
        "zh": ("心脏增大。", "心影增大。"),
    },
    "pneumothorax": {
        "en": ("Pneumothorax on the {place}.", "There is {place} pneumothorax."),
        "zh": ("{place}气胸。", "{place}可见气胸。"),
    },
    "consolidation": {
        "en": ("Consolidation in the {place}.", "The {place} is consolidated."),
        "zh": ("{place}实变。", "{place}可见实变影。"),
    },
    "calcification": {
        "en": ("Calcification of the {place}.",),
        "zh": ("{place}钙化。",),
    },
    "emphysema": {
        "en": ("Emphysema with bullae in both upper lungs.",),
        "zh": ("双上肺肺气肿伴肺大疱。",),
    },
    "atelectasis": {
        "en": ("Band atelectasis in the {place}.",),
        "zh": ("{place}条带状不张。",),
    },
    "hiatal_hernia": {
        "en": ("Hiatal hernia.",),
        "zh": ("食管裂孔疝。",),
    },
    "lymphadenopathy": {
        "en": ("Enlarged mediastinal lymph nodes.",),
        "zh": ("纵隔淋巴结肿大。",),
    },
}
ABSENT_SENTENCES: dict[str, Phrasings] = {
    "nodule": {"en": ("No nodule.", "No nodule is seen."), "zh": ("无结节。", "未见结节。")},
    "effusion": {
        "en": ("No pleural effusion.", "No effusion is seen."),
        "zh": ("无胸腔积液。", "未见胸腔积液。"),
    },
    "cardiomegaly": {
        "en": ("The heart is not enlarged.", "Normal heart size."),
        "zh": ("心脏不大。", "心影大小正常。"),
    },
}
"""Said only about the findings a report always mentions; other absent findings are not mentioned."""
