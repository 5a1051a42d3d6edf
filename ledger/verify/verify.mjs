// The light client for browsers: the twin of ledger.verify, file by file and check by check, with the same names (in
// camel case), the same strictness and the same error codes. One module, no dependency: WebCrypto (SHA-256, SHA-512,
// HMAC, ECDSA P-256, Ed25519 where the browser has it; where not, Ed25519 is computed here) and nothing else.
//
//   import { verifyPayment } from "./verify.mjs";
//   const payment = await verifyPayment(proof, policy, opening);          // three Uint8Array, as fetched or read
//   payment.amount_minor, payment.contract_id, payment.members            // or VerificationError with .code
//
// Files are Uint8Array. Log indexes, sizes and POSIX seconds are BigInt, hashes Uint8Array; members of entries, facts
// and records keep the names of the JSON. Every exported function but the parsers of plain texts is asynchronous.
// ledger/log/DESIGN.md describes the formats, ledger/verify/errors.py the codes.

export class VerificationError extends Error {
  constructor(code, message) {
    super(`${code}: ${message}`);
    this.name = "VerificationError";
    this.code = code;
  }
}

const refuse = (code, message) => {
  throw new VerificationError(code, message);
};

// ------------------------------------------------------------------------------------------------ bytes and hashes

const UTF8 = new TextEncoder();
const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const subtle = globalThis.crypto.subtle;

const concat = (...parts) => {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
};
const order = (a, b) => {
  for (let at = 0; at < Math.min(a.length, b.length); at++) if (a[at] !== b[at]) return a[at] - b[at];
  return a.length - b.length;
};
const equal = (a, b) => order(a, b) === 0;
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const isHex = (text, bytes) => typeof text === "string" && /^(?:[0-9a-f]{2})*$/.test(text) && (bytes === undefined || text.length === 2 * bytes);
// One character a byte: how files are read whose text need not be Unicode.
const latin = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const unlatin = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const integer = (bytes) => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
const sha256 = async (...parts) => new Uint8Array(await subtle.digest("SHA-256", concat(...parts)));
const hasOwn = (object, name) => Object.prototype.hasOwnProperty.call(object, name);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const sameMembers = (object, names) => {
  const keys = Object.keys(object);
  return keys.length === names.length && names.every((name) => hasOwn(object, name));
};

// -------------------------------------------------------------------------------------------------- canonical JSON

const MAX_BYTES = 1 << 20;
const MAX_DEPTH = 32;

/** The canonical bytes of a value (object, array, string, safe integer, boolean, null). */
export function encode(value) {
  checkCanonical(value, 0);
  return UTF8.encode(canonicalText(value));
}

/** Decodes canonical JSON; bytes that encode the same value in another way are refused (not_canonical). */
export function decode(data, maxBytes = MAX_BYTES) {
  if (data.length > maxBytes) refuse("not_canonical", `${data.length} bytes, at most ${maxBytes} are read`);
  let value;
  try {
    value = JSON.parse(STRICT_UTF8.decode(data));
  } catch {
    refuse("not_canonical", "no JSON");
  }
  if (!equal(encode(value), data)) refuse("not_canonical", "the same value has another canonical encoding");
  return value;
}

function decodeObject(data, maxBytes) {
  const value = decode(data, maxBytes);
  return isObject(value) ? value : refuse("not_canonical", "not a JSON object");
}

function checkCanonical(value, depth) {
  if (depth > MAX_DEPTH) refuse("not_canonical", `deeper than ${MAX_DEPTH} levels`);
  if (typeof value === "string") {
    if (/[\x00-\x1f]|[\ud800-\udfff]/u.test(value) || value.normalize("NFC") !== value)
      refuse("not_canonical", "a string with a control character, a lone surrogate or not in NFC");
  } else if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) refuse("not_canonical", "no integer below 2^53");
  } else if (Array.isArray(value)) {
    for (const item of value) checkCanonical(item, depth + 1);
  } else if (isObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      if (!/^[a-z0-9_]+$/.test(key)) refuse("not_canonical", "an object key outside [a-z0-9_]");
      checkCanonical(item, depth + 1);
    }
  } else if (value !== null && typeof value !== "boolean") {
    refuse("not_canonical", `a ${typeof value} has no canonical form`);
  }
}

function canonicalText(value) {
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort().map((key) => `"${key}":${canonicalText(value[key])}`);
  return `{${members.join(",")}}`;
}

// ------------------------------------------------------------------------------------------------------ signatures

const ED_P = (1n << 255n) - 19n;
const ED_L = (1n << 252n) + 27742317777372353535851937790883648493n;
const P256_P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const P256_B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
const P256_N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const SMALL_ORDER_Y = new Set([
  0n, 1n, ED_P - 1n, ED_P, ED_P + 1n,
  2707385501144840649318225287225658788936804267575313519463743609750303402022n % ED_P,
  ED_P - (2707385501144840649318225287225658788936804267575313519463743609750303402022n % ED_P),
]); // the y of every point of order 1, 2, 4 and 8, in every encoding

const mod = (value, p) => ((value % p) + p) % p;
const power = (base, exponent, p) => {
  let result = 1n;
  for (base = mod(base, p); exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % p;
    base = (base * base) % p;
  }
  return result;
};
const littleEndian = (bytes) => integer(Uint8Array.from(bytes).reverse());

/** True if `signature` (64 bytes) is by the key `key` (32 bytes); the same verdict as libsodium's. */
async function verifyEd25519(key, message, signature) {
  if (key.length !== 32 || signature.length !== 64) return false;
  const [y, r] = [key, signature.subarray(0, 32)].map((bytes) => littleEndian(bytes) & ((1n << 255n) - 1n));
  if (littleEndian(signature.subarray(32)) >= ED_L || y >= ED_P) return false;
  if (SMALL_ORDER_Y.has(y) || SMALL_ORDER_Y.has(r)) return false;
  return (await nativeEd25519()) ? nativeVerify(key, message, signature) : computedVerify(key, message, signature);
}

let native;
function nativeEd25519() {
  native ??= subtle.importKey("raw", unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"), "Ed25519", false, ["verify"]).then(() => true, () => false);
  return native;
}

async function nativeVerify(key, message, signature) {
  try {
    return await subtle.verify("Ed25519", await subtle.importKey("raw", key, "Ed25519", false, ["verify"]), signature, message);
  } catch {
    return false;
  }
}

const ED_D = mod(-121665n * power(121666n, ED_P - 2n, ED_P), ED_P);
const ED_I = power(2n, (ED_P - 1n) / 4n, ED_P);

/** RFC 8032, without cofactor, on extended coordinates; for browsers without Ed25519. */
export async function computedVerify(key, message, signature) {
  const a = edPoint(key);
  if (a === null) return false;
  const digest = new Uint8Array(await subtle.digest("SHA-512", concat(signature.subarray(0, 32), key, message)));
  const base = edPoint(unhex("58" + "66".repeat(31)));
  const minusA = [mod(-a[0], ED_P), a[1], 1n, mod(-a[3], ED_P)];
  const sum = edAdd(
    edTimes(base, littleEndian(signature.subarray(32))),
    edTimes(minusA, littleEndian(digest) % ED_L),
  );
  const z = power(sum[2], ED_P - 2n, ED_P);
  const [x, y] = [mod(sum[0] * z, ED_P), mod(sum[1] * z, ED_P)];
  return littleEndian(signature.subarray(0, 32)) === (y | ((x & 1n) << 255n));
}

function edPoint(bytes) {
  const sign = BigInt(bytes[31] >> 7);
  const y = littleEndian(bytes) & ((1n << 255n) - 1n);
  const [u, v] = [mod(y * y - 1n, ED_P), mod(ED_D * y * y + 1n, ED_P)];
  let x = mod(u * power(v, 3n, ED_P) * power(u * power(v, 7n, ED_P), (ED_P - 5n) / 8n, ED_P), ED_P);
  if (mod(v * x * x, ED_P) !== u) x = mod(x * ED_I, ED_P);
  if (y >= ED_P || mod(v * x * x, ED_P) !== u || (x === 0n && sign === 1n)) return null;
  if ((x & 1n) !== sign) x = ED_P - x;
  return [x, y, 1n, mod(x * y, ED_P)];
}

function edAdd([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const a = mod((y1 - x1) * (y2 - x2), ED_P);
  const b = mod((y1 + x1) * (y2 + x2), ED_P);
  const c = mod(2n * t1 * t2 * ED_D, ED_P);
  const d = mod(2n * z1 * z2, ED_P);
  const [e, f, g, h] = [b - a, d - c, d + c, b + a];
  return [mod(e * f, ED_P), mod(g * h, ED_P), mod(f * g, ED_P), mod(e * h, ED_P)];
}

function edTimes(point, scalar) {
  let sum = [0n, 1n, 1n, 0n];
  for (; scalar > 0n; scalar >>= 1n) {
    if (scalar & 1n) sum = edAdd(sum, point);
    point = edAdd(point, point);
  }
  return sum;
}

/** True if `signature` (r || s, low s, SHA-256) is by `key` (33 bytes, compressed). */
async function verifyP256(key, message, signature) {
  if (key.length !== 33 || signature.length !== 64 || (key[0] !== 2 && key[0] !== 3)) return false;
  const [r, s] = [integer(signature.subarray(0, 32)), integer(signature.subarray(32))];
  if (r <= 0n || r >= P256_N || s <= 0n || s > P256_N / 2n) return false;
  const x = integer(key.subarray(1));
  const square = mod(x * x * x - 3n * x + P256_B, P256_P);
  let y = power(square, (P256_P + 1n) / 4n, P256_P);
  if (x >= P256_P || mod(y * y, P256_P) !== square) return false;
  if ((y & 1n) !== BigInt(key[0] & 1)) y = mod(P256_P - y, P256_P);
  const point = concat(Uint8Array.of(4), key.subarray(1), unhex(y.toString(16).padStart(64, "0")));
  const curve = { name: "ECDSA", namedCurve: "P-256" };
  try {
    const imported = await subtle.importKey("raw", point, curve, false, ["verify"]);
    return await subtle.verify({ name: "ECDSA", hash: "SHA-256" }, imported, signature, message);
  } catch {
    return false;
  }
}

const isTextKey = (text) => /^(?:ed25519:[0-9a-f]{64}|p256:0[23][0-9a-f]{64})$/.test(text);

async function verifyTextKey(key, message, signature) {
  if (!isTextKey(key)) return false;
  const [algorithm, bytes] = key.split(":");
  return (algorithm === "ed25519" ? verifyEd25519 : verifyP256)(unhex(bytes), message, signature);
}

// ------------------------------------------------------------------------------------------- notes and checkpoints

export const ED25519 = 0x01;
export const COSIGNATURE_V1 = 0x04;
const ML_DSA_44 = 0x06; // named in policies, and not checked here
const ML_DSA_44_BYTES = 1312;

const MAX_NOTE_BYTES = 1 << 20;
const MAX_SIGNATURES = 128;
const MAX_INTEGER = (1n << 63n) - 1n;
const CONTROL = /[\x00-\x09\x0b-\x1f]/;
const SPACE = /[\x09-\x0d\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const isKeyName = (name) => name !== "" && !name.includes("+") && !CONTROL.test(name) && !SPACE.test(name) && !/[\ud800-\udfff]/u.test(name);
const encodeBase64 = (bytes) => btoa(latin(bytes));

function decodeBase64(text, code = "note_malformed") {
  const bytes = BASE64.test(text) ? unlatin(atob(text)) : refuse(code, "not base64");
  return encodeBase64(bytes) === text ? bytes : refuse(code, "not the canonical base64 of its bytes");
}

function parseDecimal(text, code) {
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(text) || BigInt(text) > MAX_INTEGER)
    refuse(code, "not a decimal number below 2^63 without leading zeros");
  return BigInt(text);
}

/** A note key: {name, type, public, keyId}; a key id that does not belong to the key is refused. */
export async function parseVerifierKey(text, { unreadable = false } = {}) {
  const [name, hexId, ...rest] = text.split("+");
  const raw = decodeBase64(rest.join("+"));
  if (!/^[0-9a-f]{8}$/.test(hexId ?? "") || raw.length === 0) refuse("note_malformed", "a verifier key is NAME+8 HEX+BASE64");
  if (!isKeyName(name)) refuse("note_malformed", "a key name is empty or holds a space, a plus or a control");
  const known = (raw[0] === ED25519 || raw[0] === COSIGNATURE_V1) && raw.length === 33;
  const named = unreadable && raw[0] === ML_DSA_44 && raw.length === 1 + ML_DSA_44_BYTES;
  if (!known && !named) refuse("note_malformed", "no support for this key type");
  const keyId = (await sha256(UTF8.encode(`${name}\n`), raw)).subarray(0, 4);
  if (hex(keyId) !== hexId) refuse("note_malformed", `the key id of ${name} is not that of its key`);
  return { name, type: raw[0], public: raw.subarray(1), keyId };
}

const encodeKey = (key) => `${key.name}+${hex(key.keyId)}+${encodeBase64(concat(Uint8Array.of(key.type), key.public))}`;
const isReadable = (key) => key.type === ED25519 || key.type === COSIGNATURE_V1;
const sameKey = (a, b) => encodeKey(a) === encodeKey(b);

/** POSIX seconds (BigInt) of a cosignature, null for a plain signature; refused if it does not verify. */
async function verifyLine(key, text, signature) {
  let [message, seconds] = [UTF8.encode(text), null];
  if (key.type === COSIGNATURE_V1) {
    seconds = integer(signature.subarray(0, 8));
    message = UTF8.encode(`cosignature/v1\ntime ${seconds}\n${text}`);
    signature = signature.subarray(8);
  }
  if ((seconds ?? 0n) > MAX_INTEGER || !(await verifyEd25519(key.public, message, signature)))
    refuse("signature_invalid", `the signature by ${key.name} does not verify`);
  return seconds;
}

/** {origin, size, root, extensions, text, signatures: [{name, keyId, signature}]}; nothing in it is verified yet. */
export function parseCheckpoint(data) {
  const [text, signatures] = parseNote(data);
  const lines = text.slice(0, -1).split("\n");
  if (lines.length < 3 || lines.includes("")) refuse("note_malformed", "a checkpoint has an origin, a size and a root line, none empty");
  const root = decodeBase64(lines[2]);
  if (root.length !== 32) refuse("note_malformed", "the root of a checkpoint is not 32 bytes");
  const size = parseDecimal(lines[1], "note_malformed");
  return { origin: lines[0], size, root, extensions: lines.slice(3), text, signatures };
}

function parseNote(data) {
  if (data.length > MAX_NOTE_BYTES) refuse("note_malformed", `a note of ${data.length} bytes`);
  let note;
  try {
    note = STRICT_UTF8.decode(data);
  } catch {
    refuse("note_malformed", "a note is UTF-8");
  }
  const blank = note.lastIndexOf("\n\n");
  const block = note.slice(blank + 2);
  if (CONTROL.test(note) || blank < 0 || !block.endsWith("\n"))
    refuse("note_malformed", "a note is text, a blank line and signature lines, without controls");
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) refuse("note_malformed", `more than ${MAX_SIGNATURES} signature lines`);
  return [note.slice(0, blank + 1), lines.map(parseSignature)];
}

function parseSignature(line) {
  const words = line.split(" ");
  if (words.length !== 3 || words[0] !== "\u2014" || !isKeyName(words[1]) || words[2] === "")
    refuse("note_malformed", "a signature line is an em dash, a key name and base64");
  const raw = decodeBase64(words[2]);
  if (raw.length < 5) refuse("note_malformed", "a signature is shorter than its key id and one byte");
  return { name: words[1], keyId: raw.subarray(0, 4), signature: raw.subarray(4) };
}

// ---------------------------------------------------------------------------------------------------------- policy

const MAX_POLICY_BYTES = 1 << 20;

/** {logs, witnesses: [[name, key]], groups: [{name, threshold, members}], quorum}; names one character a byte. */
export async function parsePolicy(data, { strict = false } = {}) {
  const malformed = (message) => refuse("policy_malformed", message);
  const file = latin(data);
  if (data.length > MAX_POLICY_BYTES || /[\x00-\x08\x0b-\x1f\x7f]/.test(file) || (file && !file.endsWith("\n")))
    malformed("too long, a control character, or no newline at the end");
  const [logs, witnesses, groups, used] = [[], new Map(), new Map(), new Set()];
  let quorum = null;
  const requireNew = (name) => (name === "none" || witnesses.has(name) || groups.has(name)) && malformed(`the name ${name} is taken`);
  const requireDefined = (name) => witnesses.has(name) || groups.has(name) || malformed(`the name ${name} is not defined above`);
  for (const line of file.split("\n")) {
    const words = line.split(/[ \t]+/).filter((word) => word);
    const [keyword, name, third, ...rest] = words;
    if (words.length === 0 || keyword.startsWith("#")) continue;
    if (keyword === "log" && (words.length === 2 || words.length === 3)) {
      logs.push(await policyKey(name, ED25519));
    } else if (keyword === "witness" && (words.length === 3 || words.length === 4)) {
      requireNew(name);
      witnesses.set(name, await policyKey(third, COSIGNATURE_V1));
    } else if (keyword === "group" && words.length >= 4) {
      requireNew(name);
      for (const member of rest) {
        requireDefined(member);
        if (used.has(member)) malformed(`${member} is a member of a group twice`);
        used.add(member);
      }
      const threshold = third === "any" ? "1" : third === "all" ? String(rest.length) : third;
      if (!/^[1-9][0-9]{0,5}$/.test(threshold) || Number(threshold) > rest.length)
        malformed(`the threshold of group ${name} is not in 1..${rest.length}`);
      groups.set(name, { name, threshold: Number(threshold), members: rest });
    } else if (keyword === "quorum" && words.length === 2 && quorum === null) {
      if (name !== "none") requireDefined(name);
      quorum = name;
    } else {
      malformed(`a ${keyword} line that is unknown or misplaced`);
    }
  }
  if (quorum === null) malformed("no quorum line");
  const every = [...logs, ...witnesses.values()];
  for (const keys of [logs, [...witnesses.values()]])
    if (new Set(keys.map((key) => hex(key.public))).size !== keys.length) malformed("a key is listed twice");
  if (new Set(every.map(identity)).size !== every.length) malformed("two keys share a name and a key id");
  const policy = { logs, witnesses: [...witnesses], groups: [...groups.values()], quorum };
  if (strict) await requireCanonical(policy, file);
  return policy;
}

const identity = (line) => `${line.name}\n${hex(line.keyId)}`;

async function policyKey(text, type) {
  try {
    const key = await parseVerifierKey(STRICT_UTF8.decode(unlatin(text)), { unreadable: true });
    return key.type === type || key.type === ML_DSA_44 ? key : refuse("policy_malformed", `${key.name} has another key type`);
  } catch (error) {
    return refuse("policy_malformed", error.message);
  }
}

function renderPolicy({ logs, witnesses, groups, quorum }) {
  const vkey = (key) => latin(UTF8.encode(encodeKey(key)));
  return [
    ...logs.map((key) => `log ${vkey(key)}\n`),
    ...witnesses.map(([name, key]) => `witness ${name} ${vkey(key)}\n`),
    ...groups.map((group) => `group ${group.name} ${group.threshold} ${group.members.join(" ")}\n`),
    `quorum ${quorum}\n`,
  ].join("");
}

async function requireCanonical(policy, file) {
  const other = (message) => refuse("policy_not_canonical", message);
  const renamed = (from, name) => ({
    ...from,
    groups: from.groups.map((group) => (group.name === from.quorum ? { ...group, name } : group)),
    quorum: name,
  });
  if (renderPolicy(policy) !== file) other("comments, URLs, white space or order are not canonical");
  if (![...policy.logs, ...policy.witnesses.map(([, key]) => key)].every(isReadable)) other("a key has a type that is not checked here");
  if (policy.quorum === "none") {
    if (policy.witnesses.length || policy.groups.length) other("witnesses are named, and none is required");
    return;
  }
  const match = /^(.+)-[0-9a-f]{16}$/s.exec(policy.quorum);
  if (match === null || !policy.groups.some((group) => group.name === policy.quorum)) other("the quorum is no group whose name ends in a digest");
  const label = renamed(policy, match[1]);
  const digest = hex(await sha256(unlatin(renderPolicy(label)))).slice(0, 16);
  if (renderPolicy(renamed(label, `${match[1]}-${digest}`)) !== file) other("the digest in the quorum's name is not that of the file");
}

function quorumMet(policy, cosigned) {
  if (policy.quorum === "none") return true;
  const witnessed = new Set(cosigned);
  for (const group of policy.groups)
    if (group.members.filter((member) => witnessed.has(member)).length >= group.threshold) witnessed.add(group.name);
  return witnessed.has(policy.quorum);
}

/** {checkpoint, cosignedAtS: {name: seconds}} if the policy (from parsePolicy) accepts the checkpoint note. */
export async function verifyCheckpoint(data, policy, { strict = false } = {}) {
  const checkpoint = parseCheckpoint(data);
  const logs = new Map(policy.logs.filter(isReadable).map((key) => [identity(key), key]));
  const witnesses = new Map(policy.witnesses.filter(([, key]) => isReadable(key)).map(([name, key]) => [identity(key), [name, key]]));
  const [cosigned, seen] = [new Map(), new Set()];
  let logSigned = false;
  for (const line of checkpoint.signatures) {
    const at = identity(line);
    if (strict && (seen.has(at) || (!logs.has(at) && !witnesses.has(at))))
      refuse("signature_unknown", `a signature by ${line.name} the policy does not ask for`);
    seen.add(at);
    if (logs.has(at)) {
      await verifyLine(logs.get(at), checkpoint.text, line.signature);
      logSigned ||= line.name === checkpoint.origin;
    } else if (witnesses.has(at)) {
      const [name, key] = witnesses.get(at);
      const seconds = await verifyLine(key, checkpoint.text, line.signature);
      if (seconds >= (cosigned.get(name) ?? 0n)) cosigned.set(name, seconds);
    }
  }
  if (!logSigned) refuse("log_signature_missing", `no log of the policy named ${checkpoint.origin} signed`);
  if (!quorumMet(policy, cosigned.keys())) refuse("quorum_not_met", `the ${cosigned.size} cosignatures do not make ${policy.quorum}`);
  return { checkpoint, cosignedAtS: Object.fromEntries([...cosigned].map(([name, at]) => [shownName(name), at])) };
}

// Names are octets; those that are UTF-8 are shown as the text they are.
function shownName(name) {
  try {
    return STRICT_UTF8.decode(unlatin(name));
  } catch {
    return name;
  }
}

// ---------------------------------------------------------------------------------------------------- Merkle trees

const leafHash = (entry) => sha256(Uint8Array.of(0), entry);
const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);
const wrongTree = (message) => refuse("merkle_proof", message);

/** Checks that the leaf hash is leaf `index` of the tree of `size` leaves with `root` (RFC 9162, 2.1.3.2). */
export async function verifyInclusion(leaf, index, size, proof, root) {
  let [node, last, computed] = [BigInt(index), BigInt(size) - 1n, leaf];
  if (node < 0n || node > last) wrongTree(`index ${index} is not in a tree of ${size} leaves`);
  for (const sibling of proof) {
    if (last === 0n) wrongTree("the inclusion proof is too long");
    if (node & 1n || node === last) {
      computed = await nodeHash(sibling, computed);
      while (!(node & 1n) && node) [node, last] = [node >> 1n, last >> 1n];
    } else {
      computed = await nodeHash(computed, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  if (last || !equal(computed, root)) wrongTree("the inclusion proof does not lead to the root");
}

/** Checks that the tree of `oldSize` leaves is a prefix of that of `newSize` leaves (RFC 9162, 2.1.4.2). */
export async function verifyConsistency(oldSize, newSize, proof, oldRoot, newRoot) {
  const [small, large] = [BigInt(oldSize), BigInt(newSize)];
  if (small < 0n || small > large) wrongTree(`a tree of ${small} leaves is no prefix of one of ${large}`);
  if (small === 0n || small === large) {
    const empty = await sha256();
    const fit = small ? equal(oldRoot, newRoot) : equal(oldRoot, empty) && (large > 0n || equal(newRoot, empty));
    if (proof.length || !fit) wrongTree("the roots are not consistent");
    return;
  }
  const path = small & (small - 1n) ? [...proof] : [oldRoot, ...proof];
  if (path.length === 0) wrongTree("the consistency proof is too short");
  let [node, last] = [small - 1n, large - 1n];
  while (node & 1n) [node, last] = [node >> 1n, last >> 1n];
  let [old, now] = [path[0], path[0]];
  for (const sibling of path.slice(1)) {
    if (last === 0n) wrongTree("the consistency proof is too long");
    if (node & 1n || node === last) {
      [old, now] = [await nodeHash(sibling, old), await nodeHash(sibling, now)];
      while (!(node & 1n) && node) [node, last] = [node >> 1n, last >> 1n];
    } else {
      now = await nodeHash(now, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  if (last || !equal(old, oldRoot) || !equal(now, newRoot)) wrongTree("the consistency proof does not lead to both roots");
}

// ------------------------------------------------------------------------------------------------------ state tree

const DEPTH = 16;
const LEAF_BYTES = 64;
const MAX_BUCKET_LEAVES = 4096;

async function keyHash(kind, key) {
  if (kind.includes("\0") || key.includes("\0")) refuse("state_mismatch", "a kind or key holds a zero byte");
  return sha256(UTF8.encode(`${kind}\0${key}`));
}

/** Checks that the record holds exactly `body` (null: does not exist); `proof`: {leaves, path: 16 hashes}. */
export async function verifyRecord(root, kind, key, body, proof) {
  const wrong = (message) => refuse("state_mismatch", message);
  const wanted = await keyHash(kind, key);
  const { leaves, path } = proof;
  const bucket = (wanted[0] << 8) | wanted[1];
  if (path.length !== DEPTH || leaves.length % LEAF_BYTES || leaves.length > MAX_BUCKET_LEAVES * LEAF_BYTES)
    wrong("a state proof has 16 siblings and whole leaves");
  let [at, computed] = [bucket, await leafHash(leaves)];
  for (const sibling of path) {
    computed = at & 1 ? await nodeHash(sibling, computed) : await nodeHash(computed, sibling);
    at >>= 1;
  }
  if (!equal(computed, root)) wrong("the state proof does not lead to the state root");
  let [found, previous] = [null, new Uint8Array()];
  for (let start = 0; start < leaves.length; start += LEAF_BYTES) {
    const hashed = leaves.subarray(start, start + 32);
    if (order(hashed, previous) <= 0 || ((hashed[0] << 8) | hashed[1]) !== bucket) wrong("the leaves are not in order or not of this bucket");
    if (equal(hashed, wanted)) found = leaves.subarray(start + 32, start + LEAF_BYTES);
    previous = hashed;
  }
  const expected = body === null ? null : await sha256(body);
  if (found === null || expected === null ? found !== expected : !equal(found, expected))
    wrong(`the record ${kind}/${key} ${body === null ? "exists" : "does not hold this value"}`);
}

// ----------------------------------------------------------------------------------------------- proof and opening

const PROOF_HEADER = "c2sp.org/tlog-proof@v1";
const MAX_PROOF_BYTES = 4 << 20;
const MAX_HASHES = 63;
const OPENING_FORMAT = "gridpact/opening/v1";
const TRANSACTION_PREFIX = UTF8.encode("gridpact/tx/v1\0");
const COMMITMENT_PREFIX = UTF8.encode("gridpact/commit/v1\0");
const FACT_SALT_PREFIX = UTF8.encode("gridpact/fact/v1\0");

/** {index, hashes, checkpoint, extra} of a .tlog-proof file; the checkpoint is only cut out. */
export function parseProof(data) {
  const malformed = (message) => refuse("proof_malformed", message);
  if (data.length > MAX_PROOF_BYTES) malformed(`a proof of ${data.length} bytes`);
  const [lines, checkpoint] = headLines(data, malformed);
  if (lines.shift() !== PROOF_HEADER) malformed(`no ${PROOF_HEADER} line`);
  let extra = null;
  if (lines.length && lines[0].startsWith("extra ")) {
    extra = decodeBase64(lines.shift().slice(6), "proof_malformed");
    if (extra.length === 0) malformed("an extra line without data");
  }
  if (!lines.length || !lines[0].startsWith("index ")) malformed("no index line where one belongs");
  const index = parseDecimal(lines.shift().slice(6), "proof_malformed");
  const hashes = lines.map((line) => decodeBase64(line, "proof_malformed"));
  if (hashes.length > MAX_HASHES || hashes.some((hashed) => hashed.length !== 32)) malformed("too many hashes, or one that is not 32 bytes");
  return { index, hashes, checkpoint, extra };
}

// The ASCII lines above the first empty one, and the bytes below it.
function headLines(data, malformed) {
  let blank = data.indexOf(10);
  while (blank >= 0 && data[blank + 1] !== 10) blank = data.indexOf(10, blank + 1);
  const head = blank < 0 ? data : data.subarray(0, blank);
  if (blank < 0 || head.some((byte) => byte > 127)) malformed("no blank line, or lines above the checkpoint that are not ASCII");
  return [latin(head).split("\n"), data.subarray(blank + 2)];
}

const ENTRY = {
  transaction: { kind: "string", channel: "string", header: "object", signature: "string", receipt: "string" },
  tick: { kind: "string", channel: "string", height: "number", time_ms: "number", receipt: "object" },
  block: {
    kind: "string", channel: "string", height: "number", previous: "string", time_ms: "number", tx_count: "number",
    first_index: "number", state_root: "string", receipts_root: "string", contracts_root: "string",
    validator_set: "string", order_revision: "number",
  },
};
const PARTS = { transaction: ["receipt", "fact", "transaction"], tick: ["fact"], block: ["record"] };
const HEADER = {
  channel: "string", contract: "string", command: "string", sender: "string", nonce: "string", not_after_ms: "number",
  commitment: "string",
};
const RECEIPT = { code: "string", facts: "number", facts_root: "string", writes: "string" };
const FACT = { index: "number", salt: "string", path: "array", body: "string" };
const TRANSACTION = { salt: "string", body: "string" };
const RECORD = { kind: "string", key: "string", key_hash: "string", leaves: "string", path: "array" };
const badOpening = (message) => refuse("opening_malformed", message);

/**
 * Checks the three files against each other and returns what they prove: {index, attestation, entry, channel, members,
 * receipt, fact, body, record: {kind, key, body}, senderVerified}, null where the opening does not hold it.
 */
export async function verifyProof(proof, policy, opening, { strict = false, senderKey = null } = {}) {
  const parsed = parseProof(proof);
  if (strict && parsed.extra !== null && !equal(parsed.extra, opening)) refuse("proof_extra", "the extra line of the proof is not the opening");
  const attestation = await verifyCheckpoint(parsed.checkpoint, await parsePolicy(policy, { strict }), { strict });
  return verifyLeaf(attestation, parsed.index, parsed.hashes, opening, { senderKey });
}

/** As verifyProof, under a checkpoint that was verified before (or that another log vouches for). */
export async function verifyLeaf(attestation, index, hashes, opening, { senderKey = null } = {}) {
  const opened = readOpening(opening);
  const { entry } = opened;
  const { checkpoint } = attestation;
  await verifyInclusion(await leafHash(encode(entry)), index, checkpoint.size, hashes, checkpoint.root);
  if (checkpoint.origin.split("/").at(-1) !== entry.channel) refuse("channel_mismatch", `${entry.channel} is not the channel of ${checkpoint.origin}`);
  const proved = {
    index: BigInt(index), attestation, entry, channel: entry.channel, members: Object.keys(attestation.cosignedAtS).sort(byCodePoint),
    receipt: null, fact: null, body: null, record: null, senderVerified: false,
  };
  if (entry.kind === "block") return { ...proved, record: await checkRecord(opened, entry) };
  if (entry.kind === "tick") {
    const receipt = members(entry.receipt, RECEIPT);
    return { ...proved, receipt, fact: await checkFact(opened, receipt, null) };
  }
  const senderVerified = await checkSender(entry, senderKey);
  const receipt = await checkReceipt(opened, entry);
  const [salt, body] = await checkTransaction(opened, entry);
  return { ...proved, receipt, fact: await checkFact(opened, receipt, salt), body, senderVerified };
}

function byCodePoint(a, b) {
  return order(UTF8.encode(a), UTF8.encode(b));
}

function readOpening(data) {
  const opened = decodeObject(data);
  const entry = hasOwn(opened, "entry") ? opened.entry : null;
  const kind = isObject(entry) && hasOwn(entry, "kind") ? entry.kind : null;
  if (!hasOwn(opened, "format") || opened.format !== OPENING_FORMAT || typeof kind !== "string" || !hasOwn(ENTRY, kind))
    badOpening(`not a ${OPENING_FORMAT} file of a transaction, a tick or a block`);
  const known = [...PARTS[kind], "format", "entry"];
  if (Object.entries(opened).some(([name, value]) => !known.includes(name) || value === null)) badOpening(`a part that does not belong to a ${kind} entry`);
  members(entry, ENTRY[kind]);
  return opened;
}

function members(value, types) {
  if (!isObject(value) || !sameMembers(value, Object.keys(types))) badOpening(`an object must have exactly the members ${Object.keys(types).sort()}`);
  for (const [name, type] of Object.entries(types)) {
    const fits = type === "array" ? Array.isArray(value[name]) : type === "object" ? isObject(value[name]) : typeof value[name] === type;
    if (!fits) badOpening(`the member ${name} has the wrong type`);
  }
  return value;
}

const hexBytes = (text, bytes) => (isHex(text, bytes) ? unhex(text) : badOpening("not lower-case hexadecimal of the right length"));

async function checkSender(entry, senderKey) {
  const header = members(entry.header, HEADER);
  if (header.channel !== entry.channel) refuse("channel_mismatch", "the header of the transaction names another channel");
  if (isTextKey(header.sender)) {
    if (senderKey !== null && senderKey !== header.sender) refuse("sender_signature", "the transaction was sent by another key");
    senderKey = header.sender;
  }
  if (senderKey === null) return false;
  const signature = hexBytes(entry.signature);
  if (!(await verifyTextKey(senderKey, concat(TRANSACTION_PREFIX, encode(header)), signature)))
    refuse("sender_signature", "the signature of the transaction is not by its sender");
  return true;
}

async function checkReceipt(opened, entry) {
  if (!hasOwn(opened, "receipt")) return null;
  const receipt = members(opened.receipt, RECEIPT);
  if (hex(await sha256(encode(receipt))) !== entry.receipt) refuse("receipt_mismatch", "the entry commits to another receipt");
  return receipt;
}

async function checkTransaction(opened, entry) {
  if (!hasOwn(opened, "transaction")) return [null, null];
  const transaction = members(opened.transaction, TRANSACTION);
  const [salt, text] = [hexBytes(transaction.salt, 32), UTF8.encode(transaction.body)];
  if (hex(await sha256(COMMITMENT_PREFIX, salt, text)) !== entry.header.commitment) refuse("commitment_mismatch", "the header commits to another body");
  return [salt, decode(text)];
}

async function checkFact(opened, receipt, transactionSalt) {
  if (!hasOwn(opened, "fact")) return null;
  const fact = members(opened.fact, FACT);
  if (receipt === null) badOpening("a fact without its receipt");
  const wrong = (message) => refuse("fact_mismatch", message);
  const [salt, text] = [hexBytes(fact.salt, 32), UTF8.encode(fact.body)];
  if (fact.index < 0 || fact.index >= Math.min(receipt.facts, 2 ** 32)) wrong(`fact ${fact.index} of ${receipt.facts}`);
  if (transactionSalt !== null && !equal(await factSalt(transactionSalt, fact.index), salt)) wrong("the salt of the fact is not derived from that of the transaction");
  const path = fact.path.map((item) => hexBytes(item, 32));
  try {
    await verifyInclusion(await leafHash(concat(salt, text)), fact.index, receipt.facts, path, hexBytes(receipt.facts_root, 32));
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    wrong("the fact is not under the facts root of the receipt");
  }
  return decode(text);
}

async function factSalt(salt, index) {
  const key = await subtle.importKey("raw", salt, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const number = unhex(index.toString(16).padStart(8, "0"));
  return new Uint8Array(await subtle.sign("HMAC", key, concat(FACT_SALT_PREFIX, number)));
}

async function checkRecord(opened, entry) {
  if (!hasOwn(opened, "record")) return null;
  const present = isObject(opened.record) && hasOwn(opened.record, "body");
  const record = members(opened.record, present ? { ...RECORD, body: "string" } : RECORD);
  if (hex(await keyHash(record.kind, record.key)) !== record.key_hash) refuse("state_mismatch", "the key hash is not that of the kind and key");
  const text = present ? UTF8.encode(record.body) : null;
  const proof = { leaves: hexBytes(record.leaves), path: record.path.map((item) => hexBytes(item, 32)) };
  await verifyRecord(hexBytes(entry.state_root, 32), record.kind, record.key, text, proof);
  return { kind: record.kind, key: record.key, body: text === null ? null : decode(text) };
}

// ---------------------------------------------------------------------------------------------- what a file is for

const COMPLETED_TEXT = ["contract_id", "payer", "payee", "outcome"];
const COMPLETED_NUMBERS = ["obligation_wh", "delivered_wh", "paid_wh", "energy_minor", "children_minor", "penalty_minor", "amount_minor"];
const COUNTERS = ["credits_pending", "credits_posted", "debits_pending", "debits_posted"];

/** A contract's end: the figures of the fact (minor units, Wh) with `members` who cosigned, and `proved`. */
export async function verifyPayment(proof, policy, opening, { strict = true } = {}) {
  const proved = await verifyProof(proof, policy, opening, { strict });
  const wrong = (message) => refuse("payment_mismatch", message);
  const { fact, receipt } = proved;
  if (!isObject(fact) || ![...COMPLETED_TEXT, ...COMPLETED_NUMBERS, "fact", "parent"].every((name) => hasOwn(fact, name)) || fact.fact !== "DRCompleted")
    wrong("the opening shows no DRCompleted");
  if (!COMPLETED_TEXT.every((name) => typeof fact[name] === "string")) wrong("a name in the fact is no text");
  if (!COMPLETED_NUMBERS.every((name) => typeof fact[name] === "number")) wrong("a figure in the fact is no integer");
  if (receipt === null || receipt.code !== "ok") wrong("the transaction was refused");
  if (BigInt(fact.amount_minor) !== BigInt(fact.energy_minor) - BigInt(fact.children_minor) - BigInt(fact.penalty_minor))
    wrong("the amount is not energy less what was passed on less penalty");
  const figures = Object.fromEntries([...COMPLETED_TEXT, ...COMPLETED_NUMBERS].map((name) => [name, fact[name]]));
  return { ...figures, members: proved.members, proved };
}

/** An account's counters after block `height`, and `free_minor` (BigInt); all zero where there is no such account. */
export async function verifyBalance(proof, policy, opening, { strict = true } = {}) {
  const proved = await verifyProof(proof, policy, opening, { strict });
  const wrong = (message) => refuse("balance_mismatch", message);
  const { record, entry } = proved;
  if (record === null || record.kind !== "account") wrong("the opening shows no account");
  const counters = record.body ?? Object.fromEntries(COUNTERS.map((name) => [name, 0]));
  if (!isObject(counters) || !sameMembers(counters, COUNTERS)) wrong("an account has four counters");
  if (!COUNTERS.every((name) => typeof counters[name] === "number" && counters[name] >= 0)) wrong("a counter of the account is no integer from 0 on");
  const free = BigInt(counters.credits_posted) - BigInt(counters.debits_posted) - BigInt(counters.debits_pending);
  return { account: record.key, ...counters, free_minor: free, height: entry.height, time_ms: entry.time_ms, members: proved.members, proved };
}

// ------------------------------------------------------------------------------------------------- two checkpoints

const EVIDENCE_FORMAT = "gridpact/equivocation/v1";
const MAX_EVIDENCE_BYTES = 1 << 16;

/** {older, newer}: the log only grew since the note `older`; `extension` as c2sp.org/tlog-witness takes it. */
export async function verifyExtension(older, extension, policy, { strict = false } = {}) {
  const [oldSize, hashes, note] = parseExtension(extension);
  const trusted = await parsePolicy(policy, { strict });
  const before = await verifyCheckpoint(older, trusted, { strict });
  const after = await verifyCheckpoint(note, trusted, { strict });
  if (before.checkpoint.origin !== after.checkpoint.origin || before.checkpoint.size !== oldSize)
    refuse("extension_mismatch", "the checkpoints are not of the log and size the proof is for");
  await verifyConsistency(oldSize, after.checkpoint.size, hashes, before.checkpoint.root, after.checkpoint.root);
  return { older: before, newer: after };
}

function parseExtension(data) {
  const malformed = (message) => refuse("extension_malformed", message);
  const [lines, note] = headLines(data, malformed);
  if (!lines[0].startsWith("old ") || lines.length > MAX_HASHES + 1) malformed("no old line, or too many hashes");
  const size = parseDecimal(lines.shift().slice(4), "extension_malformed");
  const hashes = lines.map((line) => decodeBase64(line, "extension_malformed"));
  if (hashes.some((hashed) => hashed.length !== 32)) malformed("a hash is not 32 bytes");
  return [size, hashes, note];
}

/** {key, name, first, second, signedAtS}: one key signed two checkpoints that contradict each other. */
export async function verifyEquivocation(evidence, policy = null) {
  const malformed = (message) => refuse("evidence_malformed", message);
  const opened = decodeObject(evidence, MAX_EVIDENCE_BYTES);
  const alone = ["format", "key", "first", "second"];
  const prefixed = sameMembers(opened, [...alone, "prefix_root", "path"]);
  if (opened.format !== EVIDENCE_FORMAT || !(prefixed || sameMembers(opened, alone))) malformed(`not a ${EVIDENCE_FORMAT} file`);
  if (!["key", "first", "second"].every((name) => typeof opened[name] === "string")) malformed("key and notes are texts");
  const key = await parseVerifierKey(opened.key);
  const name = policy === null ? key.name : await nameInPolicy(key, policy);
  const [first, firstS] = await signedBy(key, opened.first);
  const [second, secondS] = await signedBy(key, opened.second);
  const wrong = (message) => refuse("evidence_mismatch", message);
  if (first.origin !== second.origin) wrong("the two checkpoints are of different logs");
  if (first.size > second.size || (first.size === second.size && order(first.root, second.root) >= 0)) wrong("the two checkpoints are of one tree, or not in order");
  if ((first.size !== second.size) !== prefixed) malformed("a prefix is shown exactly where the sizes differ");
  if (prefixed) {
    if (!Array.isArray(opened.path) || opened.path.length > MAX_HASHES) malformed(`more than ${MAX_HASHES} hashes`);
    const [root, ...path] = [opened.prefix_root, ...opened.path].map((item) => (isHex(item, 32) ? unhex(item) : malformed("a hash is not 32 bytes in lower-case hexadecimal")));
    await verifyConsistency(first.size, second.size, path, root, second.root);
    if (equal(root, first.root)) wrong("the larger tree extends the smaller one");
  }
  return { key, name, first, second, signedAtS: firstS === null ? null : [firstS, secondS] };
}

async function nameInPolicy(key, policy) {
  const trusted = await parsePolicy(policy);
  if (trusted.logs.some((known) => sameKey(known, key))) return key.name;
  const found = trusted.witnesses.find(([, known]) => sameKey(known, key));
  return found ? shownName(found[0]) : refuse("evidence_key_unknown", `the policy does not name ${encodeKey(key)}`);
}

async function signedBy(key, text) {
  const checkpoint = parseCheckpoint(decodeBase64(text));
  const lines = checkpoint.signatures;
  if (lines.length !== 1 || identity(lines[0]) !== identity(key)) refuse("evidence_malformed", "a note does not have exactly the line of the accused key");
  return [checkpoint, await verifyLine(key, checkpoint.text, lines[0].signature)];
}

// ------------------------------------------------------------------------------------------------------ disclosures

const DISCLOSURE_FORMAT = "gridpact/disclosure/v1";
const MAX_DISCLOSURE_BYTES = 16 << 20;
const MAX_ITEMS = 4096;

/**
 * {channel, origin, size, height, time_ms, anchor, items, members}: entries of a restricted channel, shown to somebody
 * who trusts the main log alone. `senderKeys`: party -> public key, for those whose signatures are to be checked.
 */
export async function verifyDisclosure(disclosure, policy, { strict = true, senderKeys = {} } = {}) {
  const { anchor: given, origin, items } = readDisclosure(disclosure);
  const wrong = (message) => refuse("anchor_mismatch", message);
  const anchor = await verifyProof(given.proof, policy, given.opening, { strict });
  const { fact, receipt } = anchor;
  if (!isObject(fact) || fact.fact !== "CheckpointAnchored" || receipt === null || receipt.code !== "ok") wrong("the first proof shows no CheckpointAnchored");
  const { size, height, time_ms } = fact;
  if (typeof fact.channel !== "string" || [size, height, time_ms].some((number) => typeof number !== "number")) wrong("the anchored checkpoint has not the form of one");
  if (origin !== fact.origin || fact.channel === anchor.channel) wrong(`${fact.origin} is anchored, ${origin} is disclosed`);
  if (!isHex(fact.root, 32)) wrong("the anchored root is no hash");
  const root = unhex(fact.root);
  const text = `${origin}\n${size}\n${encodeBase64(root)}\n`;
  const attestation = { checkpoint: { origin, size: BigInt(size), root, extensions: [], text, signatures: [] }, cosignedAtS: {} };
  const shown = [];
  for (const { index, path, opening } of items) {
    const sender = decodeObject(opening).entry?.header?.sender;
    const senderKey = typeof sender === "string" && hasOwn(senderKeys, sender) ? senderKeys[sender] : null;
    shown.push(await verifyLeaf(attestation, index, path, opening, { senderKey }));
  }
  return { channel: fact.channel, origin, size: BigInt(size), height, time_ms, anchor, items: shown, members: anchor.members };
}

function readDisclosure(data) {
  const malformed = (message) => refuse("disclosure_malformed", message);
  let value;
  try {
    value = decodeObject(data, MAX_DISCLOSURE_BYTES);
  } catch (error) {
    malformed(error.message);
  }
  const { format, anchor, origin, items } = value;
  if (!sameMembers(value, ["format", "anchor", "origin", "items"]) || format !== DISCLOSURE_FORMAT || typeof origin !== "string") malformed(`not a ${DISCLOSURE_FORMAT} file`);
  if (!isObject(anchor) || !sameMembers(anchor, ["proof", "opening"]) || typeof anchor.proof !== "string") malformed("the anchor is a proof and its opening");
  if (!Array.isArray(items) || items.length < 1 || items.length > MAX_ITEMS) malformed(`at least one and at most ${MAX_ITEMS} entries are shown`);
  for (const item of items) {
    if (!isObject(item) || !sameMembers(item, ["index", "path", "opening"]) || typeof item.index !== "number") malformed("an entry has exactly index, path and opening");
    if (!Array.isArray(item.path) || item.path.length > MAX_HASHES || !item.path.every((each) => isHex(each, 32))) malformed("a path is of at most 63 hashes of 32 bytes");
  }
  if (items.some((item, at) => at > 0 && item.index < items[at - 1].index)) malformed("the entries are not in order");
  const read = items.map(({ index, path, opening }) => ({ index, path: path.map(unhex), opening: encode(opening) }));
  return { origin, items: read, anchor: { proof: decodeBase64(anchor.proof, "disclosure_malformed"), opening: encode(anchor.opening) } };
}
