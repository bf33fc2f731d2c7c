// Requests to the server. All addresses are below the page's own, which has the token.

export class Refused extends Error {}

async function read(response) {
  const found = await response.json().catch(() => ({ error: `the server answers ${response.status}` }));
  if (!response.ok) throw new Refused(found.error);
  return found;
}

async function ask(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server does not answer; start hotscan review again");
  }
}

export async function get(path, query = {}, signal = undefined) {
  const words = new URLSearchParams(query).toString();
  return read(await ask(words ? `${path}?${words}` : path, { signal }));
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return read(await ask(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

export async function getPicture(path, signal) {
  const response = await ask(path, { signal });
  if (!response.ok) throw new Refused(`no tile: ${response.status}`);
  return createImageBitmap(await response.blob());
}
