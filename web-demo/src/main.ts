// The entry: which page the address asks for.

import { showDocument } from './document-page'
import { unreachable } from './dom'
import { showLanding } from './landing'
import { parseRoute } from './route'
import { applyTheme } from './theme'

const root = document.getElementById('app')
if (root === null) throw new Error('index.html holds no #app')
applyTheme()
const route = parseRoute(location.pathname)
switch (route.page) {
  case 'landing':
    showLanding(root, null)
    break
  case 'document':
    showDocument(root, route.name)
    break
  case 'invalid':
    showLanding(root, route.reason)
    break
  default:
    unreachable(route)
}
