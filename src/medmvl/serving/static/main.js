// The page, put together: state, studies, viewer, chat.

import { ApiError, getJson, keepKey } from "./api.js";
import { Chat, copy } from "./chat.js";
import { chosen, dropped } from "./intake.js";
import { Studies, button } from "./studies.js";
import { Viewer, axisName, axisOf } from "./viewer.js";
import { current, setLanguage, translate, word } from "./words.js";

const at = (id) => document.getElementById(id);
const STATE = "medmvl-conversation"; // of this tab alone: gone when it is closed
const THEME = "medmvl-theme";
const THEMES = ["auto", "light", "dark"];
const RETRY_MS = 2000;

const fresh = () => ({ studies: [], added: 0, turns: [], draft: "", alone: false, options: { temperature: 0, max_tokens: 256 } });
const state = { ...fresh(), ...JSON.parse(sessionStorage.getItem(STATE) ?? "{}") };
const store = () => {
  try {
    sessionStorage.setItem(STATE, JSON.stringify(state));
  } catch { // full; what lies there is older, and a reload would show it as if it were all
    sessionStorage.removeItem(STATE);
    at("intake").textContent = word("notKept");
  }
};

let about;
let studies;
let chat;
let viewer;
let canDraw = false;

async function start() {
  translate(document);
  drawTheme();
  listenAlways();
  about = await getJson("/page/about");
  at("model").textContent = about.model;
  at("length").max = about.limits.new_tokens;
  studies = new Studies(state, at("studies"), at("intake"), about, { onShow: showStudy, onChange: store, onArriving: drawBusy });
  chat = new Chat(state, at("log"), studies, about, { onChange: store, onBusy: drawBusy, onBoxes: showBoxes });
  viewer = new Viewer(at("original"), at("seen"), { onMove: drawPosition, onWindow: drawWindow });
  canDraw = await viewer.start().catch((error) => {
  if (!(error instanceof ApiError)) throw error; // told by a dialog or a banner already
});
  for (const [number, name] of about.channels.entries()) at("channel").append(new Option(name, number));
  listen();
  drawAll();
  document.body.dataset.ready = "true";
  await studies.check();
}

// What changes with the language.
function drawAll() {
  at("language").textContent = current() === "zh" ? "English" : "中文";
  at("language").lang = current() === "zh" ? "en" : "zh-CN";
  drawTheme();
  drawWindows();
  studies.draw();
  chat.draw();
  drawExamples();
  drawSliders();
  drawNotes();
  at("question").value = state.draft;
  at("temperature").value = state.options.temperature;
  at("temperature-shown").textContent = state.options.temperature;
  at("length").value = state.options.max_tokens;
  at("alone").checked = state.alone;
  at("thinking-row").hidden = !about.thinks;
  at("thinking").checked = state.thinking !== false;
}

async function showStudy(study) {
  at("viewer").hidden = study === null;
  at("empty").hidden = study !== null;
  drawExamples();
  if (study === null) {
    if (canDraw) viewer.hide();
    return;
  }
  drawNotes();
  if (!canDraw) {
    at("position").textContent = word("noWebgl");
    return;
  }
  at("plane").disabled = study.kind === "image";
  viewer.resize();
  const { id } = study; // a declaration gives it another one
  const shown = viewer.show(study);
  drawSliders();
  at("position").textContent = "";
  try {
    if (!(await shown)) return;
    at("plane").value = viewer.plane;
    drawWindows();
    chooseWindow(at("window").value === "custom" ? "automatic" : at("window").value);
    drawSliders();
    await showSeen();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 404 && study.id === id) study.gone = true;
    at("intake").textContent = word("refused", { error: error.message });
    studies.draw();
  }
}

async function showSeen() {
  const wanted = at("show-seen").checked && viewer.study !== null && about.kinds.includes(viewer.study.kind);
  at("seen-figure").hidden = !wanted;
  at("channel-label").hidden = !wanted || viewer.study.kind === "image" || about.channels.length < 2;
  viewer.resize();
  if (wanted) await viewer.showSeen(Number(at("channel").value));
  else viewer.hideSeen();
}

async function showBoxes(study, boxes) {
  if (viewer.study?.id !== study.id) await studies.show(study);
  if (!canDraw || viewer.study?.id !== study.id) return; // another was asked for meanwhile
  viewer.drawBoxes(boxes);
  at("viewer").dataset.boxes = boxes.length;
}

const inHounsfield = () => viewer.study?.units === "HU";

function drawWindows() {
  const before = at("window").value;
  const names = ["automatic", ...(canDraw && inHounsfield() ? Object.keys(about.windows) : [])];
  at("window").replaceChildren(...names.map((name) => new Option(word(name), name)), new Option(word("custom"), "custom"));
  at("window").lastChild.hidden = true;
  at("window").value = [...names, "custom"].includes(before) ? before : "automatic";
}

function chooseWindow(name) {
  if (name === "custom" || !viewer.study) return;
  const [centre, width] = about.windows[name] ?? [0, 0];
  viewer.setWindow(...(name === "automatic" ? viewer.automatic : [centre - width / 2, centre + width / 2]));
  drawWindow(...viewer.window, name);
}

function drawWindow(low, high, name = "custom") {
  at("window").value = name;
  at("window").title = `${Math.round((low + high) / 2)} / ${Math.round(high - low)}`;
  at("viewer").dataset.window = `${low},${high}`;
}

function drawSliders() {
  const rows = (canDraw && viewer.study ? viewer.planes : []).map((plane) => {
    const axis = axisOf(plane);
    const label = document.createElement("label");
    const shown = document.createElement("output");
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 1, max: viewer.counts[axis], step: 1, id: `slice-${plane}` });
    slider.oninput = () => viewer.slice(axis, Number(slider.value) - 1);
    label.htmlFor = slider.id;
    label.append(word("slice", { plane: axisName(axis) }), " ", shown, slider);
    return label;
  });
  at("sliders").replaceChildren(...rows.reverse());
  if (rows.length > 0) viewer.original.createOnLocationChange();
}

function drawPosition({ place, value }) {
  for (const slider of at("sliders").querySelectorAll("input")) {
    const axis = axisOf(slider.id.replace("slice-", ""));
    slider.value = place[axis] + 1;
    slider.previousElementSibling.textContent = `${place[axis] + 1} / ${viewer.counts[axis]}`;
  }
  const units = inHounsfield() ? " HU" : "";
  const said = typeof value === "number" ? `${word("value")} ${Math.round(value * 100) / 100}${units}` : "";
  at("position").textContent = said;
}

function drawNotes() {
  const study = studies.find(studies.shown);
  const notes = study ? [...(study.oriented ? [] : [word("unoriented")]), ...study.warnings] : [];
  at("notes").replaceChildren(...notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function drawExamples() {
  const shown = studies.find(studies.shown);
  const questions = shown ? word(shown.kind === "volume" ? "askVolume" : "askImage") : [];
  at("examples").replaceChildren(...questions.map((text) => button(text, () => ask(text))));
  drawBusy();
}

// A question waits for the answer to the one before, and for the studies that are on their way.
const mayAsk = () => !chat.busy && studies.arriving === 0;

function drawBusy() {
  at("send").hidden = chat.busy;
  at("stop").hidden = !chat.busy;
  at("send").disabled = !mayAsk();
  at("report").disabled = !mayAsk() || studies.usable().length === 0;
  for (const example of at("examples").children) example.disabled = !mayAsk();
}

async function ask(text) {
  if (!mayAsk() || !text.trim()) return;
  await chat.ask(text.trim());
}

function drawTheme() {
  const mode = localStorage.getItem(THEME) ?? "auto";
  document.documentElement.dataset.theme = mode;
  at("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[mode];
  at("theme").setAttribute("aria-label", word("theme", { mode: word(mode) }));
  at("theme").title = word("theme", { mode: word(mode) });
}

function listenAlways() {
  document.addEventListener("server-lost", waitForServer);
  document.addEventListener("key-needed", () => at("key-dialog").open || at("key-dialog").showModal());
  at("key-dialog").addEventListener("close", () => {
    keepKey(at("key").value.trim());
    location.reload();
  });
  at("theme").onclick = () => {
    const mode = localStorage.getItem(THEME) ?? "auto";
    localStorage.setItem(THEME, THEMES[(THEMES.indexOf(mode) + 1) % THEMES.length]);
    drawTheme();
  };
}

function listen() {
  at("language").onclick = () => {
    setLanguage(current() === "zh" ? "en" : "zh");
    drawAll();
  };
  at("add-files").onclick = () => at("files").click();
  at("add-folder").onclick = () => at("folder").click();
  for (const id of ["files", "folder"])
    at(id).onchange = async () => {
      const files = chosen(at(id));
      at(id).value = "";
      await studies.add(files);
    };
  at("add-volume").onclick = () => studies.addExample("volume");
  at("add-image").onclick = () => studies.addExample("image");
  listenToDrops();
  listenToViewer();
  listenToQuestions();
}

function listenToDrops() {
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    at("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) at("drop").hidden = true;
  });
  addEventListener("drop", async (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    at("drop").hidden = true;
    await studies.add(await dropped(event.dataTransfer));
  });
}

function listenToViewer() {
  at("plane").onchange = () => {
    viewer.choosePlane(at("plane").value);
    drawSliders();
  };
  at("window").onchange = () => chooseWindow(at("window").value);
  at("drag").onchange = () => viewer.setDrag(at("drag").value);
  at("zoom-in").onclick = () => viewer.zoom(1.25);
  at("zoom-out").onclick = () => viewer.zoom(0.8);
  at("reset").onclick = () => {
    viewer.reset();
    chooseWindow("automatic");
  };
  at("show-seen").onchange = showSeen;
  at("channel").onchange = showSeen;
  addEventListener("resize", () => canDraw && viewer.resize());
}

function listenToQuestions() {
  at("ask").onsubmit = async (event) => {
    event.preventDefault();
    const text = at("question").value;
    if (!mayAsk() || !text.trim()) return;
    at("question").value = state.draft = "";
    await ask(text);
  };
  at("question").oninput = () => {
    state.draft = at("question").value;
    store();
  };
  at("question").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    at("ask").requestSubmit();
  };
  at("stop").onclick = () => chat.stop();
  at("report").onclick = () => ask(word("reportPrompt"));
  at("temperature").oninput = () => {
    state.options.temperature = Number(at("temperature").value);
    at("temperature-shown").textContent = at("temperature").value;
    store();
  };
  at("thinking").onchange = () => {
    state.thinking = at("thinking").checked;
    store();
  };
  at("alone").onchange = () => {
    state.alone = at("alone").checked;
    store();
  };
  at("length").onchange = () => {
    const wanted = Math.round(Number(at("length").value)) || 256;
    state.options.max_tokens = Math.min(about.limits.new_tokens, Math.max(1, wanted));
    at("length").value = state.options.max_tokens;
    store();
  };
  at("copy-all").onclick = () => copy(chat.asText());
  at("save-text").onclick = () => save("medmvl-conversation.txt", "text/plain", chat.asText());
  at("save-json").onclick = () => save("medmvl-conversation.json", "application/json", chat.asJson());
  at("new").onclick = startOver;
}

async function startOver() {
  if (!confirm(word("startOverSure"))) return;
  chat.clear();
  await studies.clear();
  store();
  drawAll();
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function waitForServer() {
  if (!at("lost").hidden) return;
  at("lost").hidden = false;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    const answers = await fetch("/health").then((response) => response.ok, () => false);
    if (answers) break;
  }
  at("lost").hidden = true;
  at("intake").textContent = word("back");
  if (studies) {
    await getJson("/page/about"); // a server that was started anew tells visitors apart by new cookies
    await studies.check();
  } else location.reload();
}

start().catch((error) => {
  if (!(error instanceof ApiError)) throw error; // told by a dialog or a banner already
});
