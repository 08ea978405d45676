// Talking with the server: every call carries the key, where one is needed, and ends in an answer or an ApiError.

import { word } from "./words.js";

const KEY = "medmvl-key";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0 where the server could not be reached
  }
}

const headers = () => {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
};

export const keepKey = (key) => sessionStorage.setItem(KEY, key);

const tell = (name) => document.dispatchEvent(new CustomEvent(name));

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    tell("server-lost");
    throw new ApiError(0, word("unreachable"));
  }
  if (!response.ok) throw refused(response.status, await response.text());
  return response;
}

function refused(status, body) {
  if (status === 401) tell("key-needed");
  try {
    return new ApiError(status, JSON.parse(body).error.message);
  } catch {
    return new ApiError(status, `HTTP ${status}`);
  }
}

const sent = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const getJson = async (path) => (await call(path)).json();
export const postJson = async (path, body) => (await call(path, sent(body))).json();
export const getBytes = async (path) => (await call(path)).arrayBuffer();
export const getBlob = async (path) => (await call(path)).blob();
export const remove = (path) => call(path, { method: "DELETE" });

// Upload one blob; fetch tells nothing of progress, so this is an XMLHttpRequest.
export function upload(blob, onShare) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", blob, "upload");
    request.open("POST", "/page/studies");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onShare(event.loaded / event.total);
    request.onerror = () => {
      tell("server-lost");
      reject(new ApiError(0, word("unreachable")));
    };
    request.onload = () =>
      request.status === 200 ? resolve(JSON.parse(request.responseText)) : reject(refused(request.status, request.responseText));
    request.send(form);
  });
}

// Ask, and give every piece of the answer to `onPiece`, of reasoning to `onReasoning`; returns why the answer ended.
export async function streamChat(body, signal, onPiece, onReasoning) {
  const response = await call("/v1/chat/completions", { ...sent({ ...body, stream: true }), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  let finish = null;
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      tell("server-lost");
      throw new ApiError(0, word("unreachable"));
    }
    if (part.done) break;
    pending += part.value;
    const events = pending.split("\n\n");
    pending = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return finish;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(500, chunk.error.message);
      const choice = chunk.choices[0];
      if (choice?.delta.reasoning) onReasoning(choice.delta.reasoning);
      if (choice?.delta.content) onPiece(choice.delta.content);
      finish = choice?.finish_reason ?? finish;
    }
  }
  tell("server-lost"); // the stream ended without its last event
  throw new ApiError(0, word("unreachable"));
}
