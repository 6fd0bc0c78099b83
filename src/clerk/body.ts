// How an answer's body is read: part by part, so that it is known whether bytes still arrive, and no further than to a
// bound, so that no answer can use up the memory. A compressed body is counted as it is after decompression.

/**
 * Returns the body as text, or undefined if it is longer than `bytesMax`: the rest is then not read, and the connection is
 * closed. Calls `onBytes` with each part that arrives. Throws what the connection throws.
 */
export async function readText(
  response: Response,
  bytesMax: number,
  onBytes: () => void,
): Promise<string | undefined> {
  if (response.body === null) return ''
  // As `Response.text` decodes: without a byte order mark, and with a replacement for what is not UTF-8.
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const part of response.body) {
    onBytes()
    bytes += part.byteLength
    // Leaving the loop cancels the body.
    if (bytes > bytesMax) return undefined
    text += decoder.decode(part, { stream: true })
  }
  return text + decoder.decode()
}
