// Package source delivers one object of an object store: pinned to one entity tag, counted and digested as delivered,
// decompressed, and decoded to UTF-8.
//
//   - [Open] pins the object and begins to fetch it ahead, a few blocks at a time. A connection that breaks is taken up
//     again where it broke, on the same entity tag, so that no byte is skipped or read twice.
//   - [Object.Plain] decompresses. What the bytes are is told by their first bytes, not by a name; checksums are
//     verified, and data that ends early, or goes on behind its end, fails the read instead of shortening the batch.
//   - [Decode] makes text UTF-8, so that one scanner reads every encoding, and knows the way back to the source's own
//     bytes and offsets.
//
// A byte order mark wins over the declared encoding. What is not valid in UTF-16 becomes bytes that are not valid
// UTF-8 either, so that the record in which it stands is rejected, and [Encoding.Original] gives its own bytes back.
// Bytes that windows-1252 leaves undefined are the control characters of the same number, as in browsers.
package source
