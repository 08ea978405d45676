// The conversation: what was asked and answered, streamed, kept across a reload of this tab, never longer than the tab.

import { ApiError, postJson, streamChat } from "./api.js";
import { button, describe, note } from "./studies.js";
import { word } from "./words.js";

const MAY_HOLD_BOX = /[[{]\s*<?\s*\d/;

export class Chat {
  // `state.turns` holds {role, text, studies} and {role, text, reasoning, end, error, seconds, boxes}.
  constructor(state, place, studies, about, { onChange, onBusy, onBoxes }) {
    Object.assign(this, { state, place, studies, about, onChange, onBusy, onBoxes });
    this.stopper = null;
    for (const turn of state.turns) if (turn.end === "running") turn.end = "cut";
  }

  get busy() {
    return this.stopper !== null;
  }

  stop() {
    this.stopper?.abort();
  }

  async ask(text) {
    const added = this.studies.usable().filter((study) => !study.sent);
    for (const study of added) study.sent = true;
    this.state.turns.push({ role: "user", text, studies: added.map((study) => study.id) });
    this.studies.draw();
    await this.#answer();
  }

  // Ask the last question again.
  async again() {
    this.state.turns.pop();
    await this.#answer();
  }

  clear() {
    this.stop();
    this.state.turns = [];
    this.onChange();
    this.draw();
  }

  draw() {
    this.place.replaceChildren(...this.state.turns.map((turn, number) => this.#bubble(turn, number)));
    this.place.scrollTop = this.place.scrollHeight;
  }

  // What a file or the clipboard gets.
  asText() {
    const lines = this.state.turns.map((turn) => `${word(turn.role === "user" ? "you" : "model")}: ${turn.text}`);
    return [word("noticeFile"), "", ...lines, ""].join("\n");
  }

  asJson() {
    const turns = this.state.turns.map(({ role, text, reasoning, studies, end, seconds, boxes }) => ({
      role, text, reasoning, end, seconds, boxes: boxes?.found,
      studies: studies?.map((id) => this.studies.find(id)).filter(Boolean).map(({ letter, kind, shape, spacing_mm, modality, days }) =>
        ({ letter, kind, shape, spacing_mm, modality, days_before_current: days })),
    }));
    return JSON.stringify({ notice: word("noticeFile"), model: this.about.model, saved: new Date().toISOString(), turns }, null, 2);
  }

  async #answer() {
    const turn = { role: "assistant", text: "", end: "running" };
    const body = { ...this.#body(), ...this.state.options };
    if (this.about.thinks) body.chat_template_kwargs = { enable_thinking: this.state.thinking !== false };
    this.state.turns.push(turn);
    this.stopper = new AbortController();
    this.onBusy();
    this.onChange();
    this.draw();
    const { shown } = this.studies;
    const boxed = this.#boxed(shown);
    const started = performance.now();
    try {
      const finish = await streamChat(body, this.stopper.signal, (piece) => this.#grow(turn, piece), (piece) => this.#reason(turn, piece));
      turn.end = finish === "length" ? (turn.text ? "length" : "thoughtOnly") : "done";
    } catch (error) {
      turn.end = error.name === "AbortError" ? "stopped" : "failed";
      if (turn.end === "failed") turn.error = error.message;
      if (turn.end === "failed" && !(error instanceof ApiError)) throw error;
    } finally {
      turn.seconds = Math.round(performance.now() - started) / 1000;
      this.stopper = null;
      this.onBusy();
      this.onChange();
      this.draw();
    }
    await this.#findBoxes(turn, boxed, shown);
  }

  // The turns as OpenAI's messages. What was never answered is left out; its studies go with the next question.
  #body() {
    if (this.state.alone) return this.#aloneBody();
    const messages = [];
    let waiting = [];
    this.state.turns.forEach((turn, number) => {
      if (turn.role === "assistant") {
        if (turn.text) messages.push({ role: "assistant", content: turn.text });
        return;
      }
      const answer = this.state.turns[number + 1];
      const shown = [...waiting, ...turn.studies].filter((id) => this.studies.find(id)?.gone === false);
      waiting = answer && !answer.text ? shown : [];
      if (answer && !answer.text) return;
      const files = shown.map((id) => ({ type: "file", file: this.#reference(id) }));
      messages.push({ role: "user", content: [...files, { type: "text", text: turn.text }] });
    });
    return { model: this.about.model, messages };
  }

  // The last question with every study of the conversation, and nothing else that was said.
  #aloneBody() {
    const files = this.studies.usable().filter((study) => study.sent).map(({ id }) => ({ type: "file", file: this.#reference(id) }));
    const { text } = this.state.turns.findLast((turn) => turn.role === "user");
    return { model: this.about.model, messages: [{ role: "user", content: [...files, { type: "text", text }] }] };
  }

  #reference(id) {
    const { days } = this.studies.find(id);
    return days === null ? { file_id: id } : { file_id: id, days_before_current: days };
  }

  #grow(turn, piece) {
    turn.text += piece;
    const words = this.place.lastElementChild?.querySelector(".words");
    if (words) words.textContent = turn.text;
    this.place.scrollTop = this.place.scrollHeight;
    this.onChange();
  }

  #reason(turn, piece) {
    turn.reasoning = (turn.reasoning ?? "") + piece;
    const bubble = this.place.lastElementChild;
    const thoughts = bubble?.querySelector(".reasoning p");
    if (thoughts) thoughts.textContent = turn.reasoning;
    else bubble?.querySelector(".words")?.before(folded(turn.reasoning));
    this.onChange();
  }

  // Boxes in an answer belong to the study that is shown when it is asked for, or else to the last one the model is given.
  #boxed(shown) {
    const usable = this.studies.usable().filter((study) => study.sent);
    return usable.find(({ id }) => id === shown) ?? usable.at(-1);
  }

  async #findBoxes(turn, study, shown) {
    const isThere = () => study && this.studies.all.includes(study) && this.state.turns.includes(turn);
    if (!isThere() || !MAY_HOLD_BOX.test(turn.text)) return;
    const { boxes } = await postJson("/page/boxes", { text: turn.text, study: study.id }).catch(() => ({ boxes: [] }));
    if (boxes.length === 0 || !isThere()) return;
    turn.boxes = { study: study.id, found: boxes };
    this.onChange();
    this.draw();
    if (this.studies.shown === shown) await this.onBoxes(study, boxes); // who looks at another one now, is left there
  }

  #bubble(turn, number) {
    const bubble = document.createElement("article");
    bubble.className = `turn ${turn.role}`;
    const who = document.createElement("h3");
    who.textContent = word(turn.role === "user" ? "you" : "model");
    const words = document.createElement("p");
    words.className = "words";
    words.textContent = turn.text;
    if (turn.end === "running") words.setAttribute("aria-busy", "true");
    bubble.append(who, ...(turn.reasoning ? [folded(turn.reasoning)] : []), words, ...(turn.role === "user" ? this.#shown(turn) : this.#after(turn, number)));
    return bubble;
  }

  #shown(turn) {
    return turn.studies.map((id) => this.studies.find(id)).filter(Boolean).map((study) => note(describe(study)));
  }

  #after(turn, number) {
    const foot = document.createElement("footer");
    const said = { stopped: word("stopped"), cut: word("cut"), length: word("cutLength"), thoughtOnly: word("thoughtOnly"), failed: word("failed", { error: turn.error }) };
    if (said[turn.end]) foot.append(note(said[turn.end]));
    if (turn.end === "failed") foot.firstChild.className = "bad";
    turn.boxes?.found.forEach((box, index) => {
      const study = this.studies.find(turn.boxes.study);
      if (study) foot.append(button(word("showBox", { number: index + 1 }), () => this.onBoxes(study, [box])));
    });
    if (turn.text && turn.end !== "running") foot.append(copier(turn.text));
    if (number === this.state.turns.length - 1 && ["failed", "cut", "stopped"].includes(turn.end))
      foot.append(button(word("again"), () => this.busy || this.again()));
    if (["done", "length", "thoughtOnly"].includes(turn.end)) foot.append(note(word("seconds", { seconds: turn.seconds.toFixed(1) })));
    return [foot];
  }
}

// What the model wrote before its answer: closed until somebody opens it.
function folded(text) {
  const made = document.createElement("details");
  made.className = "reasoning";
  made.append(
    Object.assign(document.createElement("summary"), { textContent: word("reasoning") }),
    Object.assign(document.createElement("p"), { textContent: text }),
  );
  return made;
}

function copier(text) {
  const made = button(word("copy"), async () => {
    await copy(text);
    made.textContent = word("copied");
    setTimeout(() => (made.textContent = word("copy")), 1500);
  });
  return made;
}

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // pages that come over plain HTTP have no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
