// The regions as a layer of the map that WebGL fills: a colour a region, and hatches.
//
// Colours change at a click, also those of 100,000 regions: they are one buffer. Corners
// are stored beside the city's middle, so that float32 is exact to centimetres.

const VERTEX = `#version 300 es
uniform mat4 u_matrix;
in vec2 a_place;
in vec4 a_colour;
in float a_hatch;
out vec4 v_colour;
flat out float v_hatch;
void main() {
  gl_Position = u_matrix * vec4(a_place, 0.0, 1.0);
  v_colour = a_colour;
  v_hatch = a_hatch;
}`;

const UNIFORMS = ["matrix", "opacity", "pixel"];

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

/** What other layers of regions draw with, too. */
export const SHADERS = { fragment: FRAGMENT };

/** Web Mercator from 0 to 1, as the map has it. */
export function mercator(lon, lat) {
  const y = Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360));
  return [(lon + 180) / 360, (1 - y / Math.PI) / 2];
}

/** A custom layer of MapLibre GL JS; `show(colours, hatch)` changes what it shows. */
export function regionsLayer(city) {
  const { points, triangles } = city.outlines;
  const origin = mercator(city.centres[0], city.centres[1]);
  const places = new Float32Array(2 * triangles.length);
  const region = regionOfTriangles(city);
  for (let i = 0; i < triangles.length; i++) {
    const point = triangles[i];
    const [x, y] = mercator(points[2 * point], points[2 * point + 1]);
    places.set([x - origin[0], y - origin[1]], 2 * i);
  }
  const colours = new Uint8Array(4 * triangles.length);
  const hatch = new Uint8Array(triangles.length);
  let gl = null;
  let parts = null;
  let stale = true;
  const layer = {
    id: "regions",
    type: "custom",
    renderingMode: "2d",
    opacity: 0.75,
    show(own, hatched) {
      for (let i = 0; i < triangles.length; i++) {
        const at = 4 * region[i];
        colours[4 * i] = own[at];
        colours[4 * i + 1] = own[at + 1];
        colours[4 * i + 2] = own[at + 2];
        colours[4 * i + 3] = own[at + 3];
        hatch[i] = hatched[region[i]];
      }
      stale = true;
    },
    onAdd(_, context) {
      gl = context;
      parts = builtProgram(gl, VERTEX, FRAGMENT, { a_place: [places, 2] }, UNIFORMS);
      stale = true;
    },
    render(_, { defaultProjectionData }) {
      if (stale) {
        gl.bindBuffer(gl.ARRAY_BUFFER, parts.colours);
        gl.bufferData(gl.ARRAY_BUFFER, colours, gl.DYNAMIC_DRAW);
        gl.bindBuffer(gl.ARRAY_BUFFER, parts.hatch);
        gl.bufferData(gl.ARRAY_BUFFER, hatch, gl.DYNAMIC_DRAW);
        stale = false;
      }
      gl.useProgram(parts.program);
      gl.bindVertexArray(parts.array);
      const matrix = moved(defaultProjectionData.mainMatrix, origin);
      gl.uniformMatrix4fv(parts.matrix, false, matrix);
      gl.uniform1f(parts.opacity, layer.opacity);
      gl.uniform1f(parts.pixel, globalThis.devicePixelRatio || 1);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.drawArrays(gl.TRIANGLES, 0, triangles.length);
      gl.bindVertexArray(null);
    },
  };
  return layer;
}

/** The region of each corner of each triangle. */
function regionOfTriangles({ outlines: { points, rings, region, triangles } }) {
  const ofPoint = new Uint32Array(points.length / 2);
  for (let ring = 0; ring < region.length; ring++) {
    ofPoint.fill(region[ring], rings[ring], rings[ring + 1]);
  }
  return Uint32Array.from(triangles, (point) => ofPoint[point]);
}

/** A matrix that moves by `origin` first, in double precision. */
export function moved(matrix, [x, y]) {
  const result = Float64Array.from(matrix);
  for (let row = 0; row < 4; row++) {
    result[12 + row] = matrix[row] * x + matrix[4 + row] * y + matrix[12 + row];
  }
  return Float32Array.from(result);
}

/**
 * A program with its buffers: `fixed` ones, name -> [numbers, how many a corner], colours
 * and hatches; and where its `uniforms` are.
 */
export function builtProgram(gl, vertex, fragment, fixed, uniforms) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
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
  for (const name of uniforms) {
    parts[name] = gl.getUniformLocation(program, `u_${name}`);
  }
  return parts;
}
