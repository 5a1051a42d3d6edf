// Gives the browser twin's verdict on each case of a vector file: node verdicts.mjs VECTORS [computed]
// Prints [{"code"} or {"value"}, ...]; with "computed", Ed25519 is not taken from WebCrypto.

import { readFileSync } from "node:fs";

if (process.argv[3] === "computed") {
  const subtle = globalThis.crypto.subtle;
  const importKey = subtle.importKey.bind(subtle);
  subtle.importKey = (format, key, algorithm, ...rest) =>
    algorithm === "Ed25519" ? Promise.reject(new Error("not supported")) : importKey(format, key, algorithm, ...rest);
}
const light = await import("../../../ledger/verify/verify.mjs");

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const unhex = (text) => new Uint8Array(Buffer.from(text, "hex"));
const { files, cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const named = Object.fromEntries(Object.entries(files).map(([name, data]) => [name, new Uint8Array(Buffer.from(data, "base64"))]));

function bytes(given) {
  if (typeof given === "string") return named[given];
  const [name, at, drop, added] = given;
  return new Uint8Array(Buffer.concat([named[name].subarray(0, at), unhex(added), named[name].subarray(at + drop)]));
}

const checkpoint = ({ origin, size, root, extensions }) => ({ origin, size: String(size), root: hex(root), extensions });
const attestation = (result) => ({
  ...checkpoint(result.checkpoint),
  cosigned: Object.fromEntries(Object.entries(result.cosignedAtS).map(([name, at]) => [name, String(at)])),
});
const proved = (result) => ({
  index: String(result.index),
  attestation: attestation(result.attestation),
  channel: result.channel,
  members: result.members,
  entry: result.entry,
  receipt: result.receipt,
  fact: result.fact,
  body: result.body,
  record: result.record,
  sender_verified: result.senderVerified,
});

const calls = {
  verify_proof: async (f, o) => proved(await light.verifyProof(f.proof, f.policy, f.opening, { strict: o.strict, senderKey: o.sender_key })),
  verify_payment: async (f, o) => {
    const { members, ...payment } = await light.verifyPayment(f.proof, f.policy, f.opening, o);
    return { ...payment, proved: proved(payment.proved) };
  },
  verify_balance: async (f, o) => {
    const { members, ...balance } = await light.verifyBalance(f.proof, f.policy, f.opening, o);
    return { ...balance, free_minor: String(balance.free_minor), proved: proved(balance.proved) };
  },
  verify_checkpoint: async (f, o) => attestation(await light.verifyCheckpoint(f.note, await light.parsePolicy(f.policy), o)),
  verify_extension: async (f, o) => {
    const { older, newer } = await light.verifyExtension(f.older, f.extension, f.policy, o);
    return { older: attestation(older), newer: attestation(newer) };
  },
  verify_equivocation: async (f) => {
    const { key, name, first, second, signedAtS } = await light.verifyEquivocation(f.evidence, f.policy);
    return { key: key.name, name, signed_at: signedAtS && signedAtS.map(String), first: checkpoint(first), second: checkpoint(second) };
  },
  verify_disclosure: async (f, o) => {
    const options = { strict: o.strict, senderKeys: o.sender_keys };
    const { channel, origin, size, height, time_ms, anchor, items, members } = await light.verifyDisclosure(f.disclosure, f.policy, options);
    return { channel, origin, size: String(size), height, time_ms, anchor: proved(anchor), items: items.map(proved), members };
  },
  parse_policy: async (f, o) => {
    const policy = await light.parsePolicy(f.policy, o);
    const vkey = (key) => `${key.name}+${hex(key.keyId)}+${Buffer.concat([Uint8Array.of(key.type), key.public]).toString("base64")}`;
    return { logs: policy.logs.map(vkey), quorum: policy.quorum, witnesses: policy.witnesses.length };
  },
  verify_inclusion: async (f, o) => {
    await light.verifyInclusion(unhex(o.leaf), BigInt(o.index), BigInt(o.size), o.path.map(unhex), unhex(o.root));
    return null;
  },
  verify_consistency: async (f, o) => {
    await light.verifyConsistency(BigInt(o.old_size), BigInt(o.new_size), o.path.map(unhex), unhex(o.old_root), unhex(o.new_root));
    return null;
  },
  decode: async (f) => light.decode(f.data),
};

const verdicts = [];
for (const { call, files: given, options } of cases) {
  const opened = Object.fromEntries(Object.entries(given).map(([name, what]) => [name, bytes(what)]));
  try {
    verdicts.push({ value: await calls[call](opened, options) });
  } catch (error) {
    verdicts.push(error instanceof light.VerificationError ? { code: error.code } : { crash: String(error.stack) });
  }
}
process.stdout.write(JSON.stringify(verdicts));
