"use strict";
// A 3D viewer of states of the same atoms: one at a time with its density, all together, or a path through them.

const CHAIN_COLOURS = ["#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#eeca3b"];
const ELEMENT_COLOURS = { N: "#3050f8", O: "#e02020", S: "#c8a000", P: "#ff8000", SE: "#ffa100" };
const UNKNOWN = "#b8bfc6";
const SCALES = {
  correlation: ["#b2182b", "#ef8a62", "#f3e3d8", "#67a9cf", "#1f5d9c"],
  b_factor: ["#2c5aa0", "#9ecae1", "#f4efe6", "#f4a259", "#b3201f"],
  displacement: ["#d5dbe1", "#c3a5d6", "#9a4fb5", "#5b1277"],
  uncertainty: ["#1f5d9c", "#7fb3d5", "#f3e3c3", "#ef8a62", "#b2182b"],
  rmsf: ["#d5dbe1", "#8fc3b0", "#2f8f6b", "#0b4a34"],
};
const FROM_ZERO = ["displacement", "uncertainty", "rmsf"];
const NEIGHBOURS = 6; // angstrom about a chosen residue within which atoms are drawn
const FRAME_SECONDS = 0.09;

function mixed(stops, part) {
  const at = Math.min(Math.max(part, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const channel = (colour, k) => parseInt(colour.slice(1 + 2 * k, 3 + 2 * k), 16);
  const mix = [0, 1, 2].map((k) => {
    const [a, b] = [channel(stops[low], k), channel(stops[low + 1], k)];
    return Math.round(a + (at - low) * (b - a)).toString(16).padStart(2, "0");
  });
  return `#${mix.join("")}`;
}

// Between which values a quantity's colours run: almost all of those of all states.
function colourRange(states, quantity) {
  const values = states.flatMap((state) => state[quantity] || []);
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (!known.length) return [0, 1];
  const low = FROM_ZERO.includes(quantity) ? 0 : known[Math.floor(0.02 * (known.length - 1))];
  const high = known[Math.ceil(0.98 * (known.length - 1))];
  return [low, Math.max(high, low + 1e-3)];
}

class StateViewer {
  // states: [{colour, and of the quantities in SCALES some, values of residues}]; drawn: what `viewer_data` packs
  static async create(element, drawn, states) {
    const viewer = new StateViewer();
    viewer.drawn = drawn;
    viewer.states = states;
    viewer.kind = drawn.residues.kind;
    viewer.atomName = await unpack(drawn.atom_name, Uint16Array);
    viewer.atomElement = await unpack(drawn.atom_element, Uint16Array);
    viewer.atomResidue = await unpack(drawn.atom_residue, Int32Array);
    viewer.positions = await Promise.all(drawn.states.map((state) => unpack(state.positions, Int16Array)));
    viewer.reach = viewer.positions.map((positions) => positions.reduce((most, each) => Math.max(most, Math.abs(each)), 1));
    viewer.densities = await Promise.all(drawn.states.map((state) => viewer.unpackDensity(state.density)));
    viewer.ranges = Object.fromEntries(Object.keys(SCALES).map((quantity) => [quantity, colourRange(states, quantity)]));
    if (drawn.ribbon) viewer.ribbonRows = await unpack(drawn.ribbon, Int32Array);
    if (drawn.path) viewer.pathPositions = await unpack(drawn.path.positions, Int16Array);
    if (drawn.beside) viewer.besidePositions = await unpack(drawn.beside.positions, Int16Array);
    viewer.models = drawn.states.map(() => null);
    viewer.styled = new Map();
    viewer.levels = viewer.densities.map((density) => (density ? density.level : 0));
    viewer.shown = {
      state: 0, together: false, colouring: "chain", sideChains: false, density: true, mesh: false, residue: null,
      frame: null, beside: false,
    };
    viewer.picked = () => {};
    viewer.view = $3Dmol.createViewer(element, { backgroundColor: "white", antialias: true, upscale: false });
    if (!viewer.view) throw new Error("no WebGL");
    if (drawn.turn) viewer.view.setView([0, 0, 0, 0, ...drawn.turn]);
    viewer.draw();
    viewer.reset();
    return viewer;
  }

  async unpackDensity(density) {
    return density && { ...density, values: await unpack(density.values, Uint8Array) };
  }

  // Change what is shown, by the names in `shown`, and draw it.
  set(change) {
    Object.assign(this.shown, change);
    if (this.shown.frame !== null) this.shown.state = Math.round(this.drawn.path.place[this.shown.frame]);
    this.draw();
  }

  setLevel(level) {
    this.levels[this.shown.state] = level;
    this.draw();
  }

  reset() {
    const { state, together, frame } = this.shown;
    this.view.zoomTo(together ? {} : { model: frame === null ? this.model(state) : this.pathModel() });
    if (!together) this.view.zoom(this.reach[state] / Math.max(...this.reach)); // room for the other states
    this.view.render();
  }

  focus(residue) {
    this.set({ residue, frame: null });
    const near = (atom) => Math.abs(atom.residue - residue) <= 5 && this.sameChain(atom.residue, residue);
    this.view.zoomTo({ model: this.model(this.shown.state), predicate: near });
  }

  sameChain(first, second) {
    return this.drawn.residues.chain[first] === this.drawn.residues.chain[second];
  }

  draw() {
    const { state, together, frame } = this.shown;
    this.drawn.states.forEach((_, each) => {
      const visible = frame === null && (together || each === state);
      if (visible) this.style(each);
      if (this.models[each]) visible ? this.models[each].show() : this.models[each].hide();
    });
    if (frame !== null) this.drawFrame();
    else if (this.path) this.path.hide();
    this.drawBeside();
    this.drawDensity();
    this.view.render();
  }

  at(positions, row) {
    const { centre, step } = this.drawn;
    return {
      x: centre[0] + step * positions[3 * row],
      y: centre[1] + step * positions[3 * row + 1],
      z: centre[2] + step * positions[3 * row + 2],
    };
  }

  atom(row, place, strands) {
    const residue = this.atomResidue[row];
    const same = (other) => strands[other] === strands[residue] && this.sameChain(other, residue);
    const element = this.drawn.elements[this.atomElement[row]];
    return {
      ...place,
      elem: element.charAt(0) + element.slice(1).toLowerCase(),
      atom: this.drawn.names[this.atomName[row]],
      resn: this.drawn.residues.label[residue].split(" ").pop(),
      resi: residue,
      residue,
      chain: this.drawn.chains[this.drawn.residues.chain[residue]],
      hetflag: this.kind[residue] === "l",
      ss: strands[residue],
      ssbegin: !same(residue - 1),
      ssend: !same(residue + 1),
      bonds: [],
      bondOrder: [],
      properties: {},
    };
  }

  model(state) {
    if (!this.models[state]) {
      const model = this.view.addModel();
      const { strands } = this.drawn.states[state];
      const atoms = Array.from(this.atomResidue, (_, row) => this.atom(row, this.at(this.positions[state], row), strands));
      if (this.bonds) atoms.forEach((atom, row) => Object.assign(atom, this.bonds[row])); // the same in every state
      model.addAtoms(atoms);
      if (!this.bonds) {
        model.assignBonds();
        this.bonds = model.selectedAtoms({}).map(({ bonds, bondOrder }) => ({ bonds: [...bonds], bondOrder: [...bondOrder] }));
      }
      model.setClickable({}, true, (atom) => this.picked(atom.residue));
      this.models[state] = model;
    }
    return this.models[state];
  }

  style(state) {
    const { colouring, together, sideChains, residue } = this.shown;
    const key = JSON.stringify([together ? "state" : colouring, sideChains, residue]);
    const model = this.model(state);
    if (this.styled.get(model) === key) return;
    this.styled.set(model, key);
    const colour = this.colours(state);
    const stick = (radius) => ({ stick: { radius, colorfunc: (atom) => this.atomColour(atom, colour) } });
    const chosen = this.neighbours(state, residue);
    model.setStyle({}, { cartoon: { colorfunc: (atom) => colour(atom.residue), arrows: true } });
    const ligand = { ...stick(0.2), sphere: { scale: 0.28, colorfunc: (atom) => this.atomColour(atom, colour) } };
    model.setStyle({ predicate: (atom) => this.kind[atom.residue] === "l" }, ligand);
    if (sideChains) model.setStyle({ predicate: (atom) => this.kind[atom.residue] !== "l" }, stick(0.1), true);
    if (chosen.size) model.setStyle({ predicate: (atom) => chosen.has(atom.residue) }, stick(0.14), true);
    if (residue !== null) model.setStyle({ predicate: (atom) => atom.residue === residue }, stick(0.28), true);
  }

  // Residues with an atom near one of the chosen residue's.
  neighbours(state, residue) {
    const found = new Set();
    if (residue === null) return found;
    const own = [], positions = this.positions[state], reach = NEIGHBOURS / this.drawn.step;
    this.atomResidue.forEach((each, row) => { if (each === residue) own.push(row); });
    this.atomResidue.forEach((each, row) => {
      for (const other of own) {
        const squares = [0, 1, 2].map((k) => (positions[3 * row + k] - positions[3 * other + k]) ** 2);
        if (squares[0] + squares[1] + squares[2] < reach * reach) { found.add(each); break; }
      }
    });
    return found;
  }

  colours(state) {
    const { colouring, together } = this.shown;
    if (together) return () => this.states[state].colour;
    if (colouring === "chain") {
      return (residue) => CHAIN_COLOURS[this.drawn.residues.chain[residue] % CHAIN_COLOURS.length];
    }
    const [low, high] = this.ranges[colouring], values = this.states[state][colouring];
    return (residue) => {
      const value = values[residue];
      return value === null ? UNKNOWN : mixed(SCALES[colouring], (value - low) / (high - low));
    };
  }

  atomColour(atom, colour) {
    return ELEMENT_COLOURS[atom.elem.toUpperCase()] || colour(atom.residue);
  }

  drawDensity() {
    const { state, frame, density, mesh } = this.shown;
    const held = frame === null && density ? this.densities[state] : null;
    const key = held && JSON.stringify([state, this.levels[state], mesh]);
    if (key === this.surfaceKey) return;
    if (this.surface) this.view.removeShape(this.surface);
    this.surface = null;
    this.surfaceKey = key;
    if (!held) return;
    const mesh3d = isosurface(held, this.levels[state] / held.step);
    this.faces = mesh3d.faceArr.length / 3;
    if (!this.faces) return;
    const look = mesh ? { wireframe: true, opacity: 0.55, color: "#7e8b98" } : { opacity: 0.38, color: "#4a6f94" };
    this.surface = this.view.addCustom({ ...mesh3d, ...look });
  }

  // A model of what a ribbon is drawn from.
  ribbon(positions, strands) {
    const model = this.view.addModel();
    model.addAtoms(Array.from(this.ribbonRows, (row, each) => this.atom(row, this.at(positions, each), strands)));
    model.assignBonds();
    return model;
  }

  pathModel() {
    if (!this.path) {
      this.path = this.ribbon(this.pathPositions, this.drawn.states[0].strands);
      this.pathAtoms = this.path.selectedAtoms({});
    }
    return this.path;
  }

  // One more conformation that is no state, in grey.
  drawBeside() {
    if (this.shown.beside && !this.besideModel) {
      this.besideModel = this.ribbon(this.besidePositions, this.drawn.beside.strands);
      this.besideModel.setStyle({}, { cartoon: { color: UNKNOWN, arrows: true, opacity: 0.75 } });
    }
    if (this.besideModel) this.shown.beside ? this.besideModel.show() : this.besideModel.hide();
  }

  // Atoms are moved in place and styled anew, so that 3Dmol draws the ribbon again.
  drawFrame() {
    const { state, frame, together } = this.shown;
    const model = this.pathModel(), count = this.ribbonRows.length;
    this.pathAtoms.forEach((atom, each) => Object.assign(atom, this.at(this.pathPositions, frame * count + each)));
    const colour = together ? () => UNKNOWN : this.colours(state);
    model.setStyle({}, { cartoon: { colorfunc: (atom) => colour(atom.residue), arrows: true } });
    const ligand = { stick: { radius: 0.2 }, sphere: { scale: 0.28 } };
    model.setStyle({ predicate: (atom) => this.kind[atom.residue] === "l" }, ligand);
    model.show();
  }

  play(advanced) {
    const frames = this.drawn.path.place.length;
    let way = 1;
    if (this.shown.frame === null) this.set({ frame: 0 });
    this.timer = setInterval(() => {
      if (this.shown.frame + way < 0 || this.shown.frame + way >= frames) way = -way;
      this.set({ frame: this.shown.frame + way });
      advanced(this.shown.frame);
    }, 1000 * FRAME_SECONDS);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
  }

  get playing() {
    return Boolean(this.timer);
  }
}
