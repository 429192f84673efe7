// Plays random histories through real rooms and judges them with Yjs: see history.js.
//
//   node run.js --histories 200 --seed 7      200 histories
//   node run.js --seed 7 --only 31            one of them again
//   node run.js --plain                       without odd values and rare types
//   node run.js --deep 50                     values are nested 50 deep at most, instead of 100
//   node run.js --family 14                   one family of Yjs only
//   node run.js --yjs                         rooms that are Yjs itself: nothing may be wrong
//   node run.js --yjs --fault record          the same with something wrong
//
// Prints its seed, and how far it is after each thousand. A failure prints what plays it again, after steps that do not matter were left out.
import { parseArgs } from 'node:util'
import { play, stepsOf } from './history.js'
import { House } from './lib/rooms.js'
import { YjsHouse } from './lib/yjs-rooms.js'

const { values: args } = parseArgs({
  options: {
    histories: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    only: { type: 'string' },
    steps: { type: 'string' },
    family: { type: 'string' },
    yjs: { type: 'boolean', default: false },
    fault: { type: 'string' },
    deep: { type: 'string', default: '100' },
    plain: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false }
  }
})

const seed = Number(args.seed)
const given = index => ({ seed, index, family: Number(args.family ?? (index % 3 === 2 ? 14 : 13)), odd: args.plain ? 0 : Number(args.deep) })

/** The steps without which it fails no more: halves first, then ever smaller parts. */
const shrink = (house, history, steps, budget) => {
  const fails = steps => {
    try {
      play(house, { ...history, steps })
      return null
    } catch (error) {
      return error
    }
  }
  let last = null
  for (let size = Math.ceil(steps.length / 2); size >= 1 && budget > 0; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < steps.length && budget-- > 0;) {
      const fewer = [...steps.slice(0, at), ...steps.slice(at + size)]
      const error = fails(fewer)
      if (error === null) at += size
      else [steps, last] = [fewer, error]
    }
  }
  return { steps, last }
}

const house = args.yjs ? new YjsHouse(args.fault) : new House()
console.log(`seed ${seed}`)
const sum = {}
let wrong = 0
const started = Date.now()
const indexes = args.only === undefined ? Array.from({ length: Number(args.histories) }, (_, i) => i) : [Number(args.only)]
for (const index of indexes) {
  const history = { ...given(index), ...(args.steps === undefined ? {} : { steps: args.steps.split(',').filter(Boolean).map(Number) }) }
  try {
    const happened = play(house, history)
    if ((index + 1) % 1000 === 0) console.log(`${index + 1} histories, ${((Date.now() - started) / 1000).toFixed(0)} s`)
    for (const key in happened) if (typeof happened[key] === 'number') sum[key] = (sum[key] ?? 0) + happened[key]
  } catch (error) {
    wrong++
    const { steps, last } = shrink(house, history, history.steps ?? stepsOf(history), 150)
    const failure = last ?? error
    if (steps.length <= 12) console.error(failure.trail?.join('\n'))
    const messages = (failure.messages ?? []).map(update => Buffer.from(update).toString('hex'))
    if (messages.join('').length < 2000) console.error(messages.join('\n'))
    console.error(`history ${index} of Yjs ${history.family}: ${failure.stack}\n  again: node run.js --seed ${seed} --only ${index} --family ${history.family}${args.plain ? ' --plain' : ''}${args.deep === '100' ? '' : ` --deep ${args.deep}`} --steps ${steps.join(',')}\n`)
    if (!args['keep-going'] || wrong === 20) break
  }
}
house.close()
console.log(`${indexes.length} histories in ${((Date.now() - started) / 1000).toFixed(1)} s: ${JSON.stringify(sum)}`)
if (args.only === undefined && !(sum.updates > 0 && sum.edits > 0)) {
  console.error('nothing happened')
  wrong++
}
process.exit(wrong === 0 ? 0 : 1)
