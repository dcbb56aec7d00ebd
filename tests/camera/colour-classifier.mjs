// A classifier for tests: the middle of a bay is red when it is taken and green when it is free; of anything else it is not
// sure. `model.lookMs` makes it slow, a blue middle makes it fail, and a violet one ends its process as a fault of the decoder would.
export default ({ width, height, bays, model }) => ({
  classify (frame) {
    if (model?.lookMs) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, model.lookMs)
    return bays.map(({ bay, polygon }) => {
      const middle = axis => polygon.reduce((sum, point) => sum + point[axis], 0) / polygon.length
      const at = (Math.round(middle('y') * frame.height / height) * frame.width + Math.round(middle('x') * frame.width / width)) * 3
      const [red, green, blue] = frame.pixels.subarray(at, at + 3)
      if (blue > green + 60 && red > green + 60) globalThis.process.kill(globalThis.process.pid, 'SIGKILL')
      if (blue > red + 60 && blue > green + 60) throw new Error('blue')
      return { bay, taken: red > green, confidence: Math.abs(red - green) > 60 ? 1 : 0.5 }
    })
  }
})
