// Answers every request with its own payload, from a raw connection: what a request and its reply cost at a broker when
// nothing is done for them. Its argument is the port of the broker; it prints `ready` when it has subscribed.
import { readMessage5, newMessage5 } from './message5.js'
import { CONNACK, connectPacket, packet, PUBACK, PUBLISH, SUBACK, subscribePacket, uint16, varint } from './mqtt-bytes.js'
import { openStream, readPackets } from './raw-client.js'

const stream = await openStream({ port: Number(process.argv[2]), wsPort: null })
const message = newMessage5()
let out: Buffer[] = []
let number = 0

/** A QoS 1 PUBLISH to the Response Topic with the same Correlation Data and payload. */
function echo (bytes: Buffer, end: number): Buffer {
  const { responseTopicAt, responseTopicEnd, correlationAt, correlationEnd, payloadAt } = message
  number = number % 65_535 + 1
  const properties = 1 + 2 + (correlationEnd - correlationAt)
  return packet(0x32, Buffer.concat([
    bytes.subarray(responseTopicAt - 2, responseTopicEnd), uint16(number), Buffer.from(varint(properties)),
    Buffer.from([0x09]), bytes.subarray(correlationAt - 2, correlationEnd), bytes.subarray(payloadAt, end)
  ]))
}

readPackets(stream, (head, bytes, at, end) => {
  switch (head >> 4) {
    case CONNACK:
      if (bytes[at + 1] !== 0) throw new Error(`no CONNACK but ${bytes.toString('hex', at, end)}`)
      stream.write(subscribePacket('requests/+', 1, 5))
      return
    case SUBACK:
      console.log('ready')
      return
    case PUBLISH:
      readMessage5(message, head, bytes, at)
      out.push(Buffer.from([PUBACK << 4, 2, message.packetId >> 8, message.packetId & 0xff]))
      if (message.responseTopicAt >= 0 && message.correlationAt >= 0) out.push(echo(bytes, end))
  }
}, () => {
  if (out.length > 0) stream.write(Buffer.concat(out))
  out = []
})
stream.write(connectPacket({ clientId: 'bench-echo', version: 5, clean: true }))
stream.once('close', () => process.exit(0))
process.once('SIGTERM', () => process.exit(0))
