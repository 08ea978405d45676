// One study in three planes, and beside it what the model sees of it, by NiiVue.

import { getBytes } from "./api.js";
import { word } from "./words.js";

const PLANES = ["sagittal", "coronal", "axial"]; // the plane across axis x, y and z of RAS+
const SMALL_SCREEN_VOXELS = 2 ** 24;
const LARGE_SCREEN_VOXELS = 2 ** 27;
const CROSSHAIR_PERCENT = 0.6;
const BOX_COLOURS = { R: [0, 255, 90, 255, 120], G: [0, 200, 220, 90, 230], B: [0, 0, 40, 90, 120], A: [0, 255, 255, 255, 255], I: [0, 1, 2, 3, 4], labels: ["", "1", "2", "3", "4"] };

export class Viewer {
  constructor(original, seen, { onMove, onWindow }) {
    this.canvases = { original, seen };
    this.hooks = { onMove, onWindow };
    this.study = null; // whose pixels are in the view; null while they load
    this.chosen = "multi"; // the plane of volumes
    this.turns = new Map(); // per view what was asked of it last: slower loads before it give way
    this.putting = Promise.resolve();
  }

  // False where the browser cannot draw.
  async start() {
    if (!document.createElement("canvas").getContext("webgl2")) return false;
    const { niivue } = globalThis;
    const settings = {
      dragAndDropEnabled: false, isRadiologicalConvention: true, sagittalNoseLeft: true, isOrientationTextVisible: true, logLevel: "error",
      multiplanarShowRender: niivue.SHOW_RENDER.NEVER, backColor: [0, 0, 0, 1], crosshairColor: [0.35, 0.85, 0.8, 0.7],
      loadingText: "", fontColor: [0.9, 0.9, 0.9, 1], multiplanarEqualSize: false, viewModeHotKey: "",
      selectionBoxColor: [1, 1, 1, 0.3], showAllOrientationMarkers: true, crosshairWidthUnit: "percent", crosshairWidth: CROSSHAIR_PERCENT,
      multiplanarPadPixels: 14,
      cycleClipPlaneHotKey: "", clipPlaneHotKey: "",
    };
    this.original = new niivue.Niivue(settings);
    this.seen = new niivue.Niivue({ ...settings, crosshairColor: [1, 0.82, 0.4, 0.7] });
    for (const canvas of Object.values(this.canvases)) canvas.addEventListener("keydown", (event) => this.#key(event));
    await this.original.attachToCanvas(this.canvases.original);
    await this.seen.attachToCanvas(this.canvases.seen);
    this.original.onLocationChange = (place) => this.#moved(place);
    this.seen.onLocationChange = (place) => this.#follow(this.original, place);
    // dragging a window tells nobody of it, so it is looked for behind NiiVue's own listeners
    for (const kind of ["mousemove", "mouseup", "touchmove"]) this.canvases.original.addEventListener(kind, () => this.#checkWindow());
    return true;
  }

  // Load a study; false where another was asked for meanwhile.
  async show(study) {
    this.study = null;
    this.hideSeen();
    const maxVoxels = innerWidth < 700 ? SMALL_SCREEN_VOXELS : LARGE_SCREEN_VOXELS;
    return this.#load(this.original, `/page/studies/${study.id}/pixels.nii?max_voxels=${maxVoxels}`, () => {
      this.study = study;
      for (const view of [this.original, this.seen]) view.setCrosshairWidth(study.kind === "image" ? 0 : CROSSHAIR_PERCENT);
      this.original.setIsOrientationTextVisible(study.oriented);
      this.automatic = this.window = [this.#volume.cal_min, this.#volume.cal_max];
      this.#setPlane(study.kind === "image" ? study.plane : this.chosen);
      this.slice(2, Math.floor(this.counts[2] / 2));
    });
  }

  // Views that are moved together; one without a study must not be.
  #join(together) {
    this.original.broadcastTo(together ? [this.seen] : [], { "2d": true, "3d": false });
    this.seen.broadcastTo(together ? [this.original] : [], { "2d": true, "3d": false });
  }

  hideSeen() {
    this.#join(false);
    this.#clear(this.seen);
  }

  async showSeen(channel) {
    this.#join(false);
    const { study } = this;
    await this.#load(this.seen, `/page/studies/${study.id}/seen.nii?channel=${channel}`, () => {
      this.seen.setIsOrientationTextVisible(study.oriented);
      this.#volumeOf(this.seen).cal_min = 0;
      this.#volumeOf(this.seen).cal_max = 255;
      this.seen.updateGLVolume();
      this.#setPlane(this.plane);
      this.original.createOnLocationChange();
      this.#join(true);
    });
  }

  hide() {
    this.study = null;
    this.hideSeen();
    this.#clear(this.original);
  }

  // Voxels along x, y and z of RAS+.
  get counts() {
    return this.#volume.dimsRAS.slice(1, 4);
  }

  get planes() {
    if (this.study.kind === "image") return [];
    return this.plane === "multi" ? PLANES : [this.plane];
  }

  // Of this volume and those after it.
  choosePlane(plane) {
    this.chosen = plane;
    if (this.study) this.#setPlane(plane);
  }

  #setPlane(plane) {
    this.plane = plane;
    const types = globalThis.niivue.SLICE_TYPE;
    const type = plane === "multi" ? types.MULTIPLANAR : types[plane.toUpperCase()];
    for (const view of [this.original, this.seen]) view.setSliceType(type);
  }

  setDrag(mode) {
    for (const view of [this.original, this.seen]) view.opts.dragModePrimary = globalThis.niivue.DRAG_MODE[mode];
  }

  setWindow(low, high) {
    if (!this.study) return;
    this.#volume.cal_min = low;
    this.#volume.cal_max = high;
    this.window = [low, high];
    this.original.updateGLVolume();
  }

  #checkWindow() {
    if (!this.study || !this.window) return;
    const found = [this.#volume.cal_min, this.#volume.cal_max];
    if (found[0] === this.window[0] && found[1] === this.window[1]) return;
    this.window = found;
    this.hooks.onWindow(...found);
  }

  zoom(factor) {
    const [x, y, z, zoom] = this.original.scene.pan2Dxyzmm;
    this.#pan([x, y, z, Math.min(20, Math.max(0.5, zoom * factor))]);
  }

  reset() {
    if (!this.study) return;
    this.#pan([0, 0, 0, 1]);
    this.setWindow(...this.automatic);
  }

  // Move the crosshair to a slice, from 0; axis 0 is x of RAS+.
  slice(axis, number) {
    const place = [...this.original.frac2vox(this.original.scene.crosshairPos)];
    place[axis] = number;
    this.#goTo(place);
  }

  // Draw boxes of the study that is shown, given by two corners in millimetres, and go to the middle of the first.
  drawBoxes(boxes) {
    const view = this.original;
    view.closeDrawing();
    view.createEmptyDrawing();
    view.setDrawColormap(BOX_COLOURS);
    view.setDrawOpacity(0.9);
    const places = boxes.map((corners) => corners.map((mm) => [...view.frac2vox(view.mm2frac([...mm, 1]))]));
    places.forEach((corners, number) => this.#outline(corners, 1 + (number % 4)));
    view.refreshDrawing(true);
    if (places.length > 0) this.#goTo(places[0][0].map((value, axis) => Math.round((value + places[0][1][axis]) / 2)));
  }

  resize() {
    for (const view of [this.original, this.seen]) view?.resizeListener();
  }

  get #volume() {
    return this.#volumeOf(this.original);
  }

  #volumeOf(view) {
    return view.volumes[0];
  }

  // Pixels into a view, then `done`; false where it was cleared meanwhile, whatever became of the load. NiiVue keeps the pixels of
  // two loads at once, those of another patient among them: they go in one after the other, and only the last asked for stay.
  async #load(view, address, done) {
    this.#clear(view);
    const turn = this.turns.get(view);
    const isLast = () => turn === this.turns.get(view);
    let bytes;
    try {
      bytes = await getBytes(address);
    } catch (error) {
      if (isLast()) throw error;
      return false; // what failed is not wanted any more
    }
    const put = async () => {
      if (!isLast()) return;
      await view.loadFromArrayBuffer(bytes, "study.nii");
      if (!isLast()) return this.#empty(view);
      view.setInterpolation(false);
      done();
    };
    this.putting = this.putting.then(put, put);
    await this.putting;
    return isLast();
  }

  #clear(view) {
    this.turns.set(view, {});
    this.#empty(view);
  }

  #empty(view) {
    view.closeDrawing();
    Object.assign(view, { volumes: [], overlays: [], back: null }); // its own removing draws a scene without a volume and fails
    view.mediaUrlMap.clear();
    view.drawScene();
  }

  #pan(place) {
    for (const view of [this.original, this.seen]) view.setPan2Dxyzmm(place);
  }

  #goTo(place) {
    this.original.scene.crosshairPos = this.original.vox2frac(place);
    this.original.drawScene();
    this.original.createOnLocationChange();
  }

  // Arrows move within the plane (of three: the axial one), page keys through it; as on the screen, where the patient's left is right.
  #key(event) {
    const up = this.plane === "coronal" || this.plane === "sagittal" ? 2 : 1;
    const across = this.plane === "sagittal" ? 1 : 0;
    const through = 3 - up - across;
    const moves = { ArrowLeft: [across, 1], ArrowRight: [across, -1], ArrowUp: [up, 1], ArrowDown: [up, -1], PageUp: [through, 1], PageDown: [through, -1] };
    const move = moves[event.key];
    if (!move || !this.study) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const [axis, step] = move;
    const place = [...this.original.frac2vox(this.original.scene.crosshairPos)];
    this.slice(axis, Math.min(this.counts[axis] - 1, Math.max(0, Math.round(place[axis]) + step)));
  }

  #moved(place) {
    if (!this.study) return;
    this.hooks.onMove({ place: place.vox.map(Math.round), value: place.values[0]?.value });
    this.#follow(this.seen, place);
  }

  // Bring one view to where the other is.
  #follow(view, { mm }) {
    if (this.following || view.volumes.length === 0) return;
    this.following = true; // the view tells of its move, too
    view.scene.crosshairPos = view.mm2frac([mm[0], mm[1], mm[2], 1]);
    view.drawScene();
    view.createOnLocationChange();
    this.following = false;
  }

  // The shell of a box, as thick as it must be to be seen: in every plane through it there is a frame.
  #outline([first, second], pen) {
    const low = first.map((value, axis) => Math.round(Math.min(value, second[axis])));
    const high = first.map((value, axis) => Math.round(Math.max(value, second[axis])));
    const [nx, ny, nz] = this.counts;
    const thick = this.counts.map((count) => Math.max(1, Math.round(count / 256)));
    const bitmap = this.original.drawBitmap;
    const near = (value, axis) => value < low[axis] + thick[axis] || value > high[axis] - thick[axis];
    for (let z = Math.max(0, low[2]); z <= Math.min(nz - 1, high[2]); z++)
      for (let y = Math.max(0, low[1]); y <= Math.min(ny - 1, high[1]); y++)
        for (let x = Math.max(0, low[0]); x <= Math.min(nx - 1, high[0]); x++)
          if (this.#isFrame([x, y, z], near)) bitmap[x + nx * (y + ny * z)] = pen;
  }

  // Of a volume every side of the box; of an image, which is one slice thick, its four edges.
  #isFrame(place, near) {
    return place.some((value, axis) => (this.counts[axis] > 1 ? near(value, axis) : false));
  }
}

export const axisName = (axis) => word(PLANES[axis]);
export const axisOf = (plane) => PLANES.indexOf(plane);
