"use strict";
// What the page holds packed (gzip, base64), made into arrays and libraries again; nothing is fetched.

async function unpackBytes(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function unpack(text, Kind) {
  return new Kind(await unpackBytes(text));
}

// The element is a script whose text has its checksum in the page's content security policy.
async function loadLibrary(name) {
  const source = await unpackBytes(document.getElementById(`library-${name}`).textContent);
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(source);
  document.head.append(script);
}
