// Trials of `python -m benchmarks.label_next`: the page's own modules choose labels, fit
// and predict. Reads and writes files of one folder; arguments: the folder, the modules.

import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, modules] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(`${modules}/${name}.js`));
const { suggest, drawn, randomNumbers } = await load("suggest");
const { fitNumbers, predictNumbers } = await load("heads");

const about = JSON.parse(readFileSync(`${folder}/about.json`, "utf8"));
const bytes = (name) => new Uint8Array(readFileSync(`${folder}/${name}`)).buffer;
const x = new Float32Array(bytes("x.f32")), blocks = new Int32Array(bytes("blocks.i32"));
const weights = new Float64Array(bytes("weights.f64"));
const truth = Object.fromEntries(
  about.tasks.map((task, i) => [task, new Float64Array(bytes(`truth_${i}.f64`))]));
const n = blocks.length, d = weights.length;

/** One region of each of some blocks, both drawn; a second where all blocks have one. */
function oneABlock(pool, count, seed) {
  const random = randomNumbers(seed), byBlock = new Map();
  for (const region of pool) {
    if (!byBlock.has(blocks[region])) byBlock.set(blocks[region], []);
    byBlock.get(blocks[region]).push(region);
  }
  let left = drawn([...byBlock.values()], byBlock.size, random);
  left = left.map((block) => drawn(block, block.length, random));
  const chosen = [];
  while (chosen.length < count && left.length) {
    chosen.push(...left.slice(0, count - chosen.length).map((block) => block.pop()));
    left = left.filter((block) => block.length);
  }
  return chosen;
}

function labels(way, pool, count, seed) {
  if (way.rule === "one a block") return oneABlock(pool, count, seed);
  return suggest({ x, d, weights, candidates: pool, count, seed, ...way.options, rule: way.rule })
    .regions;
}

/** R2 of log(1 + value / scale) on tested regions, and coverage and width of intervals. */
function score(task, rows, tested) {
  const values = rows.map((row) => truth[task][row]), scale = about.scales[task];
  const head = fitNumbers({ x, d, rows, values, blocks, weights, log: true });
  const { value, low, high } = predictNumbers(head, x, n);
  const log = (number) => Math.log1p(number / scale);
  let mean = 0, error = 0, spread = 0, held = 0;
  for (const row of tested) mean += log(truth[task][row]) / tested.length;
  for (const row of tested) {
    error += (log(value[row]) - log(truth[task][row])) ** 2;
    spread += (log(truth[task][row]) - mean) ** 2;
    held += truth[task][row] >= low[row] && truth[task][row] <= high[row] ? 1 : 0;
  }
  return { r2: 1 - error / spread, held: held / tested.length, radius: head.radius };
}

const results = [];
for (let trial = 0; trial < about.trials; trial++) {
  const names = [...new Set(blocks)].sort((a, b) => a - b);
  const pooled = new Set(drawn(names, Math.floor(names.length / 2), randomNumbers(7919 + trial)));
  const regions = [...blocks.keys()];
  const pool = regions.filter((region) => pooled.has(blocks[region]));
  const tested = regions.filter((region) => !pooled.has(blocks[region]));
  for (const way of about.ways) {
    for (let draw = 0; draw < way.draws; draw++) {
      const rows = labels(way, pool, about.count, 1000 * trial + draw);
      for (const task of about.tasks) {
        results.push({ trial, way: way.name, draw, task, ...score(task, rows, tested) });
      }
    }
  }
}
writeFileSync(`${folder}/results.json`, JSON.stringify(results,
  (key, value) => (value === Infinity ? "Infinity" : value)));
