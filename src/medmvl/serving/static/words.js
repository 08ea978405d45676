// What the page says, in English and Chinese.

const WORDS = {
  en: {
    skip: "To the question", notice: "Research software. Its answers are no diagnosis and must not guide care.",
    lost: "The server does not answer. Nothing is lost here; trying again …", back: "The server answers again.",
    notKept: "This tab has no room left to keep the conversation: a reload would lose it. Save it as text or JSON.",
    looking: "Studies and viewer", talking: "Conversation", studies: "Studies", viewer: "Viewer tools",
    addFiles: "Add files", addFolder: "Add a folder", exampleVolume: "Synthetic CT", exampleImage: "Synthetic X-ray",
    empty: "Drop scans here: DICOM files or folders, NIfTI, NRRD, MetaImage, PNG or JPEG. Names and other identity are dropped at once; pixels stay on this server for a while and are deleted.",
    dropHere: "Drop to add", reading: "Reading {name} …", sending: "Sending … {share} %", taken: "{count} added.",
    refused: "Not read: {error}", tooLarge: "{name} is larger than this server takes.",
    planes: "Planes", threePlanes: "Three planes", axial: "Axial", coronal: "Coronal", sagittal: "Sagittal",
    window: "Window", lung: "Lung", mediastinum: "Mediastinum", bone: "Bone", brain: "Brain", abdomen: "Abdomen",
    automatic: "Automatic", custom: "By hand", drag: "Drag", dragCrosshair: "Crosshair", dragWindow: "Window",
    dragPan: "Move", zoomIn: "Zoom in", zoomOut: "Zoom out", reset: "Reset", seen: "What the model sees",
    original: "Original", channel: "Channel", originalCanvas: "The study; arrow keys move the crosshair",
    seenCanvas: "What the model sees of the study", noWebgl: "This browser has no WebGL 2, which the viewer needs. Questions can be asked all the same.",
    volume: "volume", image: "image", current: "Current", prior: "Prior", days: "days before", remove: "Remove study {name}", values: "Values", undeclared: "units not declared", hounsfield: "Hounsfield units",
    show: "Show study {name}", gone: "deleted by the server; add it again", notRead: "this model reads no {kind}s",
    unoriented: "Orientation unknown: left and right are not marked.", conversation: "Conversation",
    examples: "Example questions", question: "Ask about the studies", send: "Ask", stop: "Stop", report: "Write a report",
    settings: "Settings", temperature: "Temperature", temperatureHint: "0 gives the likeliest answer, always the same.",
    alone: "Each question by itself", aloneHint: "For models that were taught single questions: earlier turns are not sent, the studies are.",
    length: "Longest answer, tokens", copyAll: "Copy", saveText: "Save as text", saveJson: "Save as JSON",
    startOver: "New conversation", startOverSure: "Delete this conversation and its studies?", you: "You", model: "Model", copy: "Copy", copied: "Copied", again: "Try again",
    stopped: "Stopped.", cut: "Interrupted by a reload.", cutLength: "The answer reached its longest length.",
    reasoning: "Reasoning", thoughtOnly: "No answer: the reasoning reached the longest length.", thinking: "Reason before the answer",
    failed: "No answer: {error}", showBox: "Show box {number}", unreachable: "the server does not answer",
    keyNeeded: "This server needs a key", enter: "Enter", theme: "Light or dark: {mode}", auto: "as the system", light: "light",
    dark: "dark", slice: "{plane}, slice", value: "value", seconds: "{seconds} s",
    noticeFile: "Unverified output of research software. Not a diagnosis.", reportPrompt: "Write a report of this study.",
    askImage: ["Is there a pleural effusion?", "Is the heart enlarged?"],
    askVolume: ["Is there a lung nodule?", "Which lobe is the nodule in?", "Is there a pleural effusion?"],
  },
  zh: {
    skip: "转到提问", notice: "研究软件。回答不构成诊断，不得用于指导诊疗。",
    lost: "服务器没有响应。此处内容不会丢失，正在重试……", back: "服务器已恢复。",
    notKept: "此标签页已无空间保存对话：刷新后会丢失。请存为文本或 JSON。",
    looking: "检查与阅片", talking: "对话", studies: "检查", viewer: "阅片工具",
    addFiles: "添加文件", addFolder: "添加文件夹", exampleVolume: "合成 CT", exampleImage: "合成 X 光片",
    empty: "将影像拖放到这里：DICOM 文件或文件夹、NIfTI、NRRD、MetaImage、PNG 或 JPEG。姓名等身份信息会立即去除；像素在服务器上保留一段时间后删除。",
    dropHere: "松开即可添加", reading: "正在读取 {name} ……", sending: "正在上传…… {share} %", taken: "已添加 {count} 项。",
    refused: "未能读取：{error}", tooLarge: "{name} 超过服务器允许的大小。",
    planes: "平面", threePlanes: "三平面", axial: "横断面", coronal: "冠状面", sagittal: "矢状面",
    window: "窗", lung: "肺窗", mediastinum: "纵隔窗", bone: "骨窗", brain: "脑窗", abdomen: "腹窗",
    automatic: "自动", custom: "手动", drag: "拖动", dragCrosshair: "十字线", dragWindow: "调窗",
    dragPan: "移动", zoomIn: "放大", zoomOut: "缩小", reset: "复位", seen: "模型所见",
    original: "原始影像", channel: "通道", originalCanvas: "检查影像；方向键移动十字线",
    seenCanvas: "模型所见的影像", noWebgl: "此浏览器不支持阅片所需的 WebGL 2，但仍可提问。",
    volume: "三维", image: "二维", current: "本次", prior: "既往", days: "天前", remove: "移除检查 {name}", values: "数值", undeclared: "未声明单位", hounsfield: "亨氏单位（HU）",
    show: "显示检查 {name}", gone: "已被服务器删除，请重新添加", notRead: "该模型不读取{kind}影像",
    unoriented: "方位未知：不标注左右。", conversation: "对话",
    examples: "示例问题", question: "就这些检查提问", send: "提问", stop: "停止", report: "写报告",
    settings: "设置", temperature: "温度", temperatureHint: "0 给出最可能的回答，且每次相同。",
    alone: "每个问题单独提问", aloneHint: "适用于只学过单轮问答的模型：不发送之前的对话，只发送检查。",
    length: "最长回答（词元）", copyAll: "复制", saveText: "存为文本", saveJson: "存为 JSON",
    startOver: "新对话", startOverSure: "删除此对话及其检查？", you: "您", model: "模型", copy: "复制", copied: "已复制", again: "重试",
    stopped: "已停止。", cut: "因刷新而中断。", cutLength: "回答已达最长长度。",
    reasoning: "推理过程", thoughtOnly: "没有回答：推理已达最长长度。", thinking: "先推理再回答",
    failed: "没有回答：{error}", showBox: "显示框 {number}", unreachable: "服务器没有响应",
    keyNeeded: "此服务器需要密钥", enter: "进入", theme: "明暗：{mode}", auto: "跟随系统", light: "浅色",
    dark: "深色", slice: "{plane}，层", value: "值", seconds: "{seconds} 秒",
    noticeFile: "研究软件的输出，未经核实。不构成诊断。", reportPrompt: "请为该检查写一份报告。",
    askImage: ["有胸腔积液吗？", "心脏增大吗？"],
    askVolume: ["有肺结节吗？", "结节在哪个肺叶？", "有胸腔积液吗？"],
  },
};

const STORED = "medmvl-language";
let language = localStorage.getItem(STORED) ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export const current = () => language;

export function word(name, values = {}) {
  const said = WORDS[language][name];
  return typeof said === "string" ? said.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "") : said;
}

export function setLanguage(wanted) {
  language = wanted;
  localStorage.setItem(STORED, wanted);
  translate(document);
}

export function translate(root) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", word(element.dataset.label));
  for (const element of root.querySelectorAll("[data-placeholder]")) element.placeholder = word(element.dataset.placeholder);
}
