declare module 'virtual:made-of/*' {
  const made: import('./source').Made
  export default made
}
