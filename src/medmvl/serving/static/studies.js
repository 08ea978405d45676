// The studies of this conversation: what was added, which is shown, and which are prior.

import { ApiError, getBlob, getJson, postJson, remove, upload } from "./api.js";
import { uploadsOf } from "./intake.js";
import { word } from "./words.js";

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

// A, B, ..., Z, AA, AB, ...: no two studies of a conversation have one name.
const lettersOf = (number) => (number < 26 ? "" : lettersOf(Math.floor(number / 26) - 1)) + LETTERS[number % 26];

export class Studies {
  // `state.studies` holds {id, kind, letter, shape, ..., days, sent, gone}; `onChange` stores it.
  constructor(state, place, status, about, { onShow, onChange, onArriving }) {
    Object.assign(this, { state, place, status, about, onShow, onChange, onArriving });
    this.shown = null;
    this.arriving = 0; // how much is on its way: files, examples, declarations
    this.conversation = {}; // another object in another conversation: what arrives for an earlier one is removed
  }

  get all() {
    return this.state.studies;
  }

  // Ready to be asked about: there, and of a kind the model reads.
  usable() {
    return this.all.filter((study) => !study.gone && this.about.kinds.includes(study.kind));
  }

  find(id) {
    return this.all.find((study) => study.id === id);
  }

  // After a reload: the server may have deleted some meanwhile.
  async check() {
    const asked = this.all.map((study) => [study, study.id]); // one that comes meanwhile is not among those held
    if (asked.length === 0) return;
    const held = new Set((await getJson("/page/studies")).studies.map((study) => study.id));
    for (const [study, id] of asked) if (study.id === id) study.gone = !held.has(id);
    this.onChange();
    this.draw();
    const shown = this.find(this.shown);
    const next = shown && !shown.gone ? shown : this.all.findLast((study) => !study.gone);
    if (next) this.show(next);
  }

  async add(files) {
    await this.#arrival(this.#addAll(files));
  }

  async addExample(kind) {
    await this.#arrival(this.#addOne(kind));
  }

  async #addAll(files) {
    const said = [];
    let count = 0;
    const { conversation } = this;
    for (const { name, blob } of await uploadsOf(files)) {
      if (conversation !== this.conversation) break;
      if (blob.size > this.about.limits.upload_bytes) {
        said.push(word("tooLarge", { name }));
        continue;
      }
      this.#say(word("reading", { name }));
      try {
        const taken = await upload(blob, (share) => this.#say(word("sending", { share: Math.round(100 * share) })));
        count += await this.#take(taken, said, conversation);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        said.push(word("refused", { error: `${name}: ${error.message}` }));
      }
    }
    this.#say([...(count ? [word("taken", { count })] : []), ...said].join(" "), said.length > 0);
  }

  async #addOne(kind) {
    const said = [];
    const { conversation } = this;
    try {
      const count = await this.#take(await postJson("/page/example", { kind }), said, conversation);
      this.#say(count ? word("taken", { count }) : "");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#say(word("refused", { error: error.message }), true);
    }
  }

  async show(study) {
    this.shown = study.id;
    this.draw();
    await this.onShow(study);
  }

  async drop(study) {
    this.state.studies = this.all.filter((other) => other !== study);
    if (this.shown === study.id) this.shown = null;
    this.onChange();
    this.draw();
    if (this.shown === null) await this.onShow(null);
    if (!study.gone) await this.#remove(study.id);
  }

  // Every study goes, those that are still on their way, too.
  async clear() {
    this.conversation = {};
    this.state.added = 0;
    await Promise.all([...this.all].map((study) => this.drop(study)));
  }

  draw() {
    this.place.replaceChildren(...this.all.map((study) => this.#card(study)));
  }

  #remove(id) {
    return remove(`/page/studies/${id}`).catch(() => {}); // it expires by itself
  }

  // Until this is done no question is asked: it would be about the studies from before.
  async #arrival(work) {
    this.arriving += 1;
    this.onArriving();
    try {
      return await work;
    } finally {
      this.arriving -= 1;
      this.onArriving();
    }
  }

  async #take({ studies, bad }, said, conversation) {
    if (conversation !== this.conversation) {
      for (const { id } of studies) await this.#remove(id);
      return 0;
    }
    said.push(...bad.map((error) => word("refused", { error })));
    for (const study of studies) {
      const letter = lettersOf(this.state.added++);
      this.all.push({ ...study, letter, days: null, sent: false, gone: false });
    }
    this.onChange();
    if (studies.length > 0) this.show(this.find(studies[0].id)); // while others are on their way
    return studies.length;
  }

  #say(text, isBad = false) {
    this.status.textContent = text;
    this.status.classList.toggle("bad", isBad);
  }

  #card(study) {
    const card = document.createElement("div");
    card.className = "study";
    card.classList.toggle("shown", study.id === this.shown);
    card.classList.toggle("gone", study.gone);
    const open = button("", () => study.gone || this.show(study));
    open.className = "open";
    open.setAttribute("aria-label", word("show", { name: study.letter }));
    open.setAttribute("aria-pressed", study.id === this.shown);
    const thumbnail = document.createElement("img");
    thumbnail.alt = "";
    this.#thumbnail(study, thumbnail);
    const about = document.createElement("span");
    about.textContent = describe(study);
    open.append(thumbnail, about);
    const away = button("×", () => this.drop(study));
    away.className = "away";
    away.setAttribute("aria-label", word("remove", { name: study.letter }));
    card.append(open, away, this.#when(study));
    if (study.units === "arbitrary" && !study.gone) card.append(this.#values(study));
    if (study.gone) card.append(note(word("gone")));
    else if (!this.about.kinds.includes(study.kind)) card.append(note(word("notRead", { kind: word(study.kind) })));
    return card;
  }

  #thumbnail(study, thumbnail) {
    if (study.gone) return;
    this.thumbnails ??= new Map();
    if (!this.thumbnails.has(study.id))
      this.thumbnails.set(study.id, getBlob(`/page/studies/${study.id}/thumbnail.png`).then(URL.createObjectURL, () => ""));
    this.thumbnails.get(study.id).then((address) => (thumbnail.src = address));
  }

  // What the file does not say: whether its values are Hounsfield units. The server keeps the declared study under a new id.
  #values(study) {
    const label = note(word("values"));
    const kind = document.createElement("select");
    kind.setAttribute("aria-label", `${study.letter}: ${word("values")}`);
    kind.append(new Option(word("undeclared"), ""), new Option(word("hounsfield"), "HU"));
    kind.disabled = study.sent;
    kind.onchange = () => this.#declare(study, kind.value);
    const box = document.createElement("span");
    box.className = "when values";
    box.append(label, kind);
    return box;
  }

  async #declare(study, units) {
    try {
      const declared = await this.#arrival(postJson(`/page/studies/${study.id}/declare`, { units }));
      if (!this.all.includes(study)) return void this.#remove(declared.id); // it was removed meanwhile
      Object.assign(study, declared);
      this.onChange();
      await this.show(study);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#say(word("refused", { error: error.message }), true);
      this.draw();
    }
  }

  // Current or prior, and by how many days; a study that the model was told of stays what it was.
  #when(study) {
    const box = document.createElement("span");
    box.className = "when";
    const kind = document.createElement("select");
    kind.setAttribute("aria-label", `${study.letter}: ${word("current")} / ${word("prior")}`);
    kind.append(new Option(word("current"), "current"), new Option(word("prior"), "prior"));
    kind.value = study.days === null ? "current" : "prior";
    const days = document.createElement("input");
    Object.assign(days, { type: "number", min: 0, max: 36500, value: study.days ?? 90, hidden: study.days === null });
    days.setAttribute("aria-label", word("days"));
    const unit = note(word("days"));
    unit.hidden = study.days === null;
    kind.disabled = days.disabled = study.sent;
    kind.onchange = days.onchange = () => {
      study.days = kind.value === "prior" ? Math.max(0, Math.round(Number(days.value) || 0)) : null;
      this.onChange();
      this.draw();
    };
    box.append(kind, days, unit);
    return box;
  }
}

export function describe(study) {
  const size = study.shape.slice(0, study.kind === "volume" ? 3 : 2).join("×");
  return `${study.letter} · ${study.modality ?? word(study.kind)} · ${size}`;
}

export function button(text, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.onclick = onClick;
  return made;
}

export function note(text) {
  const made = document.createElement("small");
  made.textContent = text;
  return made;
}
