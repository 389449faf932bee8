// Scan, reference and prediction of one case in NiiVue. Nothing is loaded but what the page holds.

const find = (id) => document.getElementById(id);
const settings = JSON.parse(find("settings").textContent);
const OVERLAYS = ["prediction", "reference", "errors"]; // later ones are drawn over earlier ones
const BOXES = { p: "prediction", r: "reference", e: "errors", b: "body" };
const STEPS = {
  // In voxels to the patient's right, front and head; the patient's right is on the left.
  ArrowLeft: [1, 0, 0],
  ArrowRight: [-1, 0, 0],
  ArrowUp: [0, 1, 0],
  ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1],
  PageDown: [0, 0, -1],
};
const VIEWS = [...find("views").children];

function bytesOf(name) {
  const text = atob(find(`${name}-data`).textContent);
  find(`${name}-data`).remove();
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0)).buffer;
}

function lookup(labels) {
  // NiiVue's table of a label volume: entry 0 is clear.
  const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
  for (const [number, [name, colour]] of Object.entries(labels)) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    table.R.push(red);
    table.G.push(green);
    table.B.push(blue);
    table.A.push(255);
    table.I.push(Number(number));
    table.labels.push(name);
  }
  return table;
}

function outlines(volume) {
  // Labels at the border of their region, and 0 inside; across slices only where they are thin.
  const [, nx, ny, nz] = volume.hdr.dims;
  const [, dx, dy, dz] = volume.hdr.pixDims;
  const labels = volume.img;
  const border = new labels.constructor(labels.length);
  const across = dz <= 1.5 * Math.max(dx, dy);
  for (let z = 0, at = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++, at++) {
        const label = labels[at];
        if (label === 0) continue;
        const inside =
          x > 0 && labels[at - 1] === label && x < nx - 1 && labels[at + 1] === label &&
          y > 0 && labels[at - nx] === label && y < ny - 1 && labels[at + nx] === label &&
          (!across ||
            (z > 0 && labels[at - nx * ny] === label &&
              z < nz - 1 && labels[at + nx * ny] === label));
        if (!inside) border[at] = label;
      }
    }
  }
  return border;
}

async function open() {
  const viewer = new globalThis.Niivue({
    isRadiologicalConvention: true,
    backColor: [0, 0, 0, 1],
    crosshairColor: [0.9, 0.9, 0.9, 0.6],
    crosshairWidth: 0.6,
    show3Dcrosshair: true,
    multiplanarShowRender: 1,
    sagittalNoseLeft: true,
    showAllOrientationMarkers: true,
    fontColor: [1, 1, 1, 1],
    tileMargin: 4,
    isCornerOrientationText: false,
    dragAndDropEnabled: false,
    logLevel: "error",
    onLocationChange: say,
  });
  await viewer.attachToCanvas(find("canvas"));
  for (const name of ["scan", ...OVERLAYS]) {
    await viewer.loadFromArrayBuffer(bytesOf(name), `${name}.nii.gz`);
  }
  const [scan, ...overlays] = viewer.volumes;
  const layers = Object.fromEntries(OVERLAYS.map((name, at) => [name, overlays[at]]));
  for (const [name, layer] of Object.entries(layers)) {
    layer.setColormapLabel(lookup(name === "errors" ? settings.errors : settings.labels));
  }
  const { reference } = layers;
  const drawn = { filled: reference.img, outlined: outlines(reference) };

  function say({ mm, values }) {
    const [right, anterior, superior] = [...mm].map((value) => value.toFixed(1));
    const label = (at) => {
      const number = Math.round(values[at]?.value ?? 0);
      return number === 0 ? "none" : settings.labels[number][0];
    };
    // The reference is told from all of its voxels, however it is drawn.
    const voxel = reference.mm2vox([...mm].slice(0, 3));
    const [, nx, ny] = reference.hdr.dims;
    const truth = drawn.filled[voxel[0] + nx * (voxel[1] + ny * voxel[2])] ?? 0;
    const said = truth === 0 ? "none" : settings.labels[truth][0];
    find("place").textContent =
      `R ${right}  A ${anterior}  S ${superior} mm   value ${values[0].value.toFixed(0)}` +
      `   prediction: ${label(1)}   reference: ${said}`;
  }

  function draw() {
    reference.img = drawn[find("style").value];
    const strength = Number(find("opacity").value);
    for (const [name, layer] of Object.entries(layers)) {
      const outlined = name === "reference" && find("style").value === "outlined";
      layer.opacity = find(name).checked ? (outlined ? 1 : strength) : 0;
    }
    viewer.updateGLVolume();
  }

  function frame() {
    [, scan.cal_min, scan.cal_max] = settings.windows[find("window").selectedIndex];
    viewer.updateGLVolume();
  }

  function view(button) {
    for (const other of VIEWS) other.setAttribute("aria-pressed", String(other === button));
    viewer.setSliceType(Number(button.dataset.view));
  }

  function go(place) {
    viewer.scene.crosshairPos = viewer.mm2frac(place);
    viewer.createOnLocationChange();
    viewer.drawScene();
  }

  function clip() {
    // A plane before all of it takes the scan away in 3D; labels are never clipped.
    viewer.setClipPlane(find("body").checked ? [2, 0, 0] : [-0.9, 180, 0]);
  }

  for (const [name, low, high] of settings.windows) {
    find("window").add(new Option(`${name} (${Math.round(low)} to ${Math.round(high)})`));
  }
  for (const name of ["prediction", "reference", "style", "opacity"]) {
    find(name).addEventListener("input", draw);
  }
  for (const button of VIEWS) button.addEventListener("click", () => view(button));
  for (const button of document.querySelectorAll("[data-place]")) {
    button.addEventListener("click", () => go(JSON.parse(button.dataset.place)));
  }
  find("window").addEventListener("input", frame);
  find("body").addEventListener("input", clip);
  find("errors").addEventListener("input", () => {
    // Both at once would mix their colours.
    find("prediction").checked = !find("errors").checked;
    draw();
  });
  // Before NiiVue sees a key: some of its keys are those of browsers, and others have no use here.
  document.addEventListener("keydown", (event) => press(event), { capture: true });
  document.addEventListener("keyup", (event) => event.stopPropagation(), { capture: true });

  function press(event) {
    event.stopPropagation();
    const { key, target } = event;
    const chosen = key.length === 1 ? key.toLowerCase() : key;
    if (event.ctrlKey || event.altKey || event.metaKey || target.matches("select")) return;
    if (key.startsWith("Arrow") && target.matches("[type=range]")) return;
    if (chosen in BOXES) find(BOXES[chosen]).click();
    else if (chosen in STEPS) viewer.moveCrosshairInVox(...STEPS[chosen]);
    else if (chosen >= "1" && chosen <= "5") VIEWS[Number(chosen) - 1].click();
    else if (chosen === "[" || chosen === "]") {
      find("opacity").value = Number(find("opacity").value) + (chosen === "]" ? 0.05 : -0.05);
      draw();
    } else if (chosen === "w") {
      find("window").selectedIndex = (find("window").selectedIndex + 1) % settings.windows.length;
      frame();
    } else return;
    event.preventDefault();
  }

  frame();
  draw();
  clip();
  if (settings.start) go(settings.start);
  find("fallback").hidden = true;
  globalThis.viewer = viewer; // for the browser's console, and for tests
  document.documentElement.dataset.ready = "yes";
}

if (!document.createElement("canvas").getContext("webgl2")) {
  find("fallback").textContent =
    "This browser or machine offers no WebGL 2, which the viewer draws with. Open the page in a" +
    " current Firefox, Chrome, Edge or Safari with hardware acceleration on. The numbers beside" +
    " are those of the record.";
} else {
  open().catch((error) => {
    find("fallback").hidden = false;
    find("fallback").textContent = `The volumes cannot be shown: ${error.message}`;
    throw error;
  });
}
