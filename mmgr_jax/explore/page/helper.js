// The worker, as promises: `ask("search", {...})` resolves to its result.

/** Starts the worker from its text. */
export function startHelper(text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const worker = new Worker(url);
  const waiting = new Map();
  let last = 0;
  const helper = { takenMs: 0 };
  worker.onmessage = ({ data: { id, result, error, takenMs } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    helper.takenMs = takenMs;
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message));
    waiting.clear();
  };
  helper.ask = (call, given = {}, transfer = []) =>
    new Promise((resolve, reject) => {
      const id = ++last;
      waiting.set(id, { resolve, reject });
      worker.postMessage({ call, id, ...given }, transfer);
    });
  return helper;
}
