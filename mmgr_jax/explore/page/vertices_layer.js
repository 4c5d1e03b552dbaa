// A layer of the map that WebGL draws: vertices, each of a colour, and hatches.
//
// Colours change at a click, also those of 100,000 regions: they are one buffer. Places
// are stored beside an origin in the city, so that float32 is exact to centimetres.

const TILE_PX = 512;
const UNIFORMS = ["matrix", "scale", "opacity", "pixel"];

const vertexShader = (sized) => `#version 300 es
uniform mat4 u_matrix;
${sized ? "uniform float u_scale;\nin float a_size;" : ""}
in vec2 a_place;
in vec4 a_colour;
in float a_hatch;
out vec4 v_colour;
flat out float v_hatch;
void main() {
  gl_Position = u_matrix * vec4(a_place, 0.0, 1.0);
  ${sized ? "gl_PointSize = max(a_size * u_scale, 1.0);" : ""}
  v_colour = a_colour;
  v_hatch = a_hatch;
}`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform float u_opacity;
uniform float u_pixel;
in vec4 v_colour;
flat in float v_hatch;
out vec4 colour;
void main() {
  vec4 own = v_colour;
  vec2 at = gl_FragCoord.xy / u_pixel;
  if (v_hatch > 1.5) {
    own = mod(at.x - at.y, 7.0) < 1.3 ? vec4(0.42, 0.45, 0.5, 1.0) : vec4(0.85, 0.87, 0.9, 0.45);
  } else if (v_hatch > 0.5 && mod(at.x + at.y, 7.0) < 1.5) {
    own = vec4(0.07, 0.09, 0.12, 1.0);
  }
  float alpha = own.a * u_opacity;
  colour = vec4(own.rgb * alpha, alpha);
}`;

/** Web Mercator from 0 to 1, as the map has it. */
export function mercator(lon, lat) {
  const y = Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360));
  return [(lon + 180) / 360, (1 - y / Math.PI) / 2];
}

/**
 * A custom layer of MapLibre GL JS. `places` [n 2] are Web Mercator less `origin`; three of
 * them are a triangle, or, with `sizes` [n] in the same unit, each is the middle of a
 * square. `colours` [n 4] and `hatch` [n] are the caller's, who sets `stale` on the layer
 * after a change. Nothing is drawn from the zoom `below` on.
 */
export function verticesLayer(id, { origin, places, sizes = null, colours, hatch, below = Infinity }) {
  let gl = null;
  let map = null;
  let parts = null;
  const layer = {
    id,
    type: "custom",
    renderingMode: "2d",
    opacity: 0.75,
    stale: true,
    onAdd(own, context) {
      [map, gl] = [own, context];
      const fixed = { a_place: [places, 2], ...(sizes ? { a_size: [sizes, 1] } : {}) };
      parts = builtProgram(gl, vertexShader(sizes !== null), fixed);
      layer.stale = true;
    },
    render(_, { defaultProjectionData }) {
      if (map.getZoom() >= below) return;
      if (layer.stale) {
        gl.bindBuffer(gl.ARRAY_BUFFER, parts.colours);
        gl.bufferData(gl.ARRAY_BUFFER, colours, gl.DYNAMIC_DRAW);
        gl.bindBuffer(gl.ARRAY_BUFFER, parts.hatch);
        gl.bufferData(gl.ARRAY_BUFFER, hatch, gl.DYNAMIC_DRAW);
        layer.stale = false;
      }
      const ratio = globalThis.devicePixelRatio || 1;
      gl.useProgram(parts.program);
      gl.bindVertexArray(parts.array);
      gl.uniformMatrix4fv(parts.matrix, false, moved(defaultProjectionData.mainMatrix, origin));
      gl.uniform1f(parts.scale, TILE_PX * 2 ** map.getZoom() * ratio); // of squares alone
      gl.uniform1f(parts.opacity, layer.opacity);
      gl.uniform1f(parts.pixel, ratio);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.drawArrays(sizes ? gl.POINTS : gl.TRIANGLES, 0, hatch.length);
      gl.bindVertexArray(null);
    },
  };
  return layer;
}

/** A matrix that moves by `origin` first, in double precision. */
function moved(matrix, [x, y]) {
  const result = Float64Array.from(matrix);
  for (let row = 0; row < 4; row++) {
    result[12 + row] = matrix[row] * x + matrix[4 + row] * y + matrix[12 + row];
  }
  return Float32Array.from(result);
}

/**
 * A program with its buffers: `fixed` ones, name -> [numbers, how many a corner], colours
 * and hatches; and where its uniforms are.
 */
function builtProgram(gl, vertex, fixed) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    throw new Error(gl.getProgramInfoLog(program));
  }
  const array = gl.createVertexArray();
  gl.bindVertexArray(array);
  const buffer = (name, size, type, normalised) => {
    const made = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, made);
    const at = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, size, type, normalised, 0, 0);
    return made;
  };
  for (const [name, [numbers, size]] of Object.entries(fixed)) {
    buffer(name, size, gl.FLOAT, false);
    gl.bufferData(gl.ARRAY_BUFFER, numbers, gl.STATIC_DRAW);
  }
  const parts = {
    program,
    array,
    colours: buffer("a_colour", 4, gl.UNSIGNED_BYTE, true),
    hatch: buffer("a_hatch", 1, gl.UNSIGNED_BYTE, false),
  };
  gl.bindVertexArray(null);
  for (const name of UNIFORMS) {
    parts[name] = gl.getUniformLocation(program, `u_${name}`);
  }
  return parts;
}
