// `camera`: everything about cameras that is a command.
import { Command } from 'commander'
import { cameraProcessCommand } from './camera-process.js'

export function cameraCommand (): Command {
  return new Command('camera')
    .description('cameras that watch bays')
    .addCommand(cameraProcessCommand())
}
