// A scan's surface in WebGL2, coloured by picture and anomaly score: drag to turn, wheel or pinch to come closer.
// The bytes are those of threedzal.report.view3d.
"use strict";

const VERTEX = `#version 300 es
in vec3 position; in vec3 colour; in vec4 heat; in float edge;
uniform mat4 camera; uniform float mix_; uniform float rim;
out vec3 place; out vec3 ink;
void main() {
  place = position;
  ink = mix(colour, heat.rgb, heat.a * mix_);
  if (rim > 0.5 && edge > 0.5) ink = vec3(0.0, 1.0, 0.82);
  gl_Position = camera * vec4(position, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 place; in vec3 ink;
uniform vec3 eye;
out vec4 pixel;
void main() {
  vec3 normal = normalize(cross(dFdx(place), dFdy(place)));
  float light = abs(dot(normal, normalize(eye - place)));
  pixel = vec4(ink * (0.35 + 0.65 * light), 1.0);
}`;

function readSurface(text, heat) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const head = new DataView(bytes.buffer);
  const width = head.getUint16(0, true), height = head.getUint16(2, true);
  const gap = head.getFloat32(4, true), size = head.getFloat32(8, true);
  const index = new Int32Array(width * height).fill(-1);
  let count = 0;
  for (let i = 0; i < width * height; i++) if (bytes[12 + (i >> 3)] & (128 >> (i & 7))) index[i] = count++;
  const packed = Math.ceil(width * height / 8);
  let at = 12 + packed + packed % 2;
  const steps = new Uint16Array(bytes.slice(at, at + count * 6).buffer); at += count * 6;
  const share = bytes.subarray(at, at += count);
  const colour = bytes.slice(at, at += count * 3);
  const edge = bytes.slice(at, at += count);

  const middle = [0, 1, 2].map((axis) => {
    let low = 65535, high = 0;
    for (let i = axis; i < steps.length; i += 3) { low = Math.min(low, steps[i]); high = Math.max(high, steps[i]); }
    return (low + high) / 2;
  });
  // a camera looks along +z with y down; here y is up and the viewer in front
  const position = new Float32Array(count * 3);
  for (let i = 0; i < count; i++) {
    for (let axis = 0; axis < 3; axis++) {
      position[3 * i + axis] = (steps[3 * i + axis] - middle[axis]) / 32768 * (axis ? -1 : 1);
    }
  }
  const hot = new Uint8Array(count * 4);
  for (let i = 0; i < count; i++) {
    const value = share[i] / 255, place = value * (heat.length - 1), lower = Math.min(Math.floor(place), heat.length - 2);
    for (let c = 0; c < 3; c++) {
      hot[4 * i + c] = heat[lower][c] + (heat[lower + 1][c] - heat[lower][c]) * (place - lower);
    }
    hot[4 * i + 3] = 255 * (0.2 + 0.7 * value ** 0.6);
  }
  // two triangles a cell of the grid, none across a jump in depth
  const near = (a, b) => Math.hypot(
    steps[3 * a] - steps[3 * b], steps[3 * a + 1] - steps[3 * b + 1], steps[3 * a + 2] - steps[3 * b + 2]) <= gap;
  const triangles = [];
  const add = (a, b, c) => {
    if (a >= 0 && b >= 0 && c >= 0 && near(a, b) && near(b, c) && near(c, a)) triangles.push(a, b, c);
  };
  for (let y = 0; y + 1 < height; y++) {
    for (let x = 0; x + 1 < width; x++) {
      const i = y * width + x;
      const [a, b, c, d] = [index[i], index[i + 1], index[i + width], index[i + width + 1]];
      if (b >= 0 && c >= 0) { add(a, c, b); add(b, c, d); } else { add(a, c, d); add(a, d, b); }
    }
  }
  return { count, size, share, position, colour, hot, edge, triangles: new Uint32Array(triangles) };
}

function multiplied(a, b) { // 4x4, column by column
  const out = new Float32Array(16);
  for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[4 * c + r] += a[4 * k + r] * b[4 * c + k];
  return out;
}

function openSurface(card, view, options) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-label", "surface coloured by anomaly score; drag to turn, wheel to zoom");
  canvas.tabIndex = 0;
  const tip = document.createElement("p");
  tip.className = "tip";
  const mix = document.createElement("label");
  mix.className = "mix";
  mix.innerHTML = 'picture <input type="range" min="0" max="1" step="0.01" value="0.8" aria-label="picture to map"> map';
  const slider = mix.querySelector("input");
  const shown = [canvas, tip, mix];
  view.append(canvas, tip);
  view.after(mix);
  const none = { set() {}, show(on) { for (const one of shown) one.hidden = !on; } };
  const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
  if (!gl) {
    tip.textContent = "This browser shows no 3D (WebGL 2 is off).";
    return none;
  }
  const heat = JSON.parse(document.getElementById("heat").textContent);
  const surface = readSurface(card.querySelector(".surface").textContent, heat);
  tip.textContent = `${(surface.size * 1000).toPrecision(3)} mm across · drag to turn, wheel or pinch to zoom`;

  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  gl.useProgram(program);
  const attributes = [["position", surface.position, 3, gl.FLOAT], ["colour", surface.colour, 3, gl.UNSIGNED_BYTE],
    ["heat", surface.hot, 4, gl.UNSIGNED_BYTE], ["edge", surface.edge, 1, gl.UNSIGNED_BYTE]];
  for (const [name, values, length, type] of attributes) {
    const at = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, length, type, name === "colour" || name === "heat", 0, 0);
  }
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, surface.triangles, gl.STATIC_DRAW);
  gl.enable(gl.DEPTH_TEST);
  const at = Object.fromEntries(["camera", "mix_", "rim", "eye"].map((name) => [name, gl.getUniformLocation(program, name)]));

  // the highest score in front, seen a little from the side
  const hottest = 3 * surface.share.indexOf(surface.share.reduce((a, b) => Math.max(a, b), 0));
  const state = {
    yaw: -0.25 - 0.6 * surface.position[hottest], pitch: 0.2 + 0.6 * surface.position[hottest + 1],
    distance: 3.2, rim: options.rim,
  };
  let waiting = false;
  function draw() {
    waiting = false;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0.063, 0.071, 0.094, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const [cy, sy, cp, sp] = [Math.cos(state.yaw), Math.sin(state.yaw), Math.cos(state.pitch), Math.sin(state.pitch)];
    const turned = [cy, sp * sy, -cp * sy, 0, 0, cp, sp, 0, sy, -sp * cy, cp * cy, 0, 0, 0, -state.distance, 1];
    const f = 1 / Math.tan(0.36), near = 0.05, far = 20, aspect = width / height;
    const lens = [f / Math.max(aspect, 1), 0, 0, 0, 0, f * Math.min(aspect, 1), 0, 0, // the shorter side fits
      0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0];
    gl.uniformMatrix4fv(at.camera, false, multiplied(lens, turned));
    gl.uniform3f(at.eye, -cp * sy * state.distance, sp * state.distance, cp * cy * state.distance);
    gl.uniform1f(at.mix_, Number(slider.value));
    gl.uniform1f(at.rim, state.rim ? 1 : 0);
    gl.drawElements(gl.TRIANGLES, surface.triangles.length, gl.UNSIGNED_INT, 0);
  }
  const ask = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };

  const fingers = new Map();
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  const nearer = (factor) => { state.distance = Math.min(10, Math.max(0.6, state.distance * factor)); ask(); };
  const turn = (x, y) => {
    state.yaw += x;
    state.pitch = Math.min(1.55, Math.max(-1.55, state.pitch + y));
    ask();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const before = fingers.size === 2 ? spread() : 0;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 2) nearer(before / Math.max(spread(), 1));
    else turn((event.clientX - last[0]) * 0.01, (event.clientY - last[1]) * 0.01);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); nearer(Math.exp(event.deltaY * 0.001)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const arrows = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (arrows[event.key]) { event.preventDefault(); turn(...arrows[event.key]); }
    if (event.key === "+" || event.key === "-") nearer(event.key === "+" ? 0.9 : 1.1);
  });
  slider.addEventListener("input", ask);
  new ResizeObserver(ask).observe(canvas);
  return {
    set(values) { Object.assign(state, values); ask(); },
    show(on) { none.show(on); if (on) ask(); },
  };
}
