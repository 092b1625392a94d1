// Takes a picture of a job summary in a real browser, to see what people see:
//
//   npm install --prefix tools/summary
//   node tools/summary/render.mjs summary.md docs/summary.png [width]
//
// `make act` leaves the summaries of its rollouts in .lab/act/*.md.
//
// It needs Debian's chromium. GitHub's own style sheet is not here; the shapes
// (tables, folded parts, Mermaid diagrams) are what is to be seen. It fails when
// a diagram cannot be drawn.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import MarkdownIt from 'markdown-it'

const [source, picture, width = '960'] = process.argv.slice(2)
if (!source || !picture) {
  console.error('usage: node render.mjs SUMMARY.md PICTURE.png [WIDTH]')
  process.exit(2)
}

const markdown = new MarkdownIt({ html: true })
const fence = markdown.renderer.rules.fence
markdown.renderer.rules.fence = (tokens, i, ...rest) =>
  tokens[i].info.trim() === 'mermaid'
    ? `<pre class="mermaid">${markdown.utils.escapeHtml(tokens[i].content)}</pre>`
    : fence(tokens, i, ...rest)

const here = dirname(fileURLToPath(import.meta.url))
const mermaid = join(here, 'node_modules/mermaid/dist/mermaid.min.js')
const page = `<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 24px 32px; font: 14px/1.5 "DejaVu Sans", sans-serif; color: #1f2328; width: ${width - 64}px }
h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: 6px; font-size: 20px } h3 { font-size: 16px }
table { border-collapse: collapse; margin: 12px 0 } td, th { border: 1px solid #d1d9e0; padding: 5px 11px; vertical-align: top }
th { background: #f6f8fa; text-align: left } a { color: #0969da; text-decoration: none }
blockquote { border-left: 4px solid #d1d9e0; margin: 0 0 12px; padding: 0 14px; color: #59636e }
pre { background: #f6f8fa; padding: 12px; font: 12px/1.45 "DejaVu Sans Mono", monospace; overflow: hidden; white-space: pre-wrap }
pre.mermaid { background: none; padding: 0 }
</style><body>${markdown.render(readFileSync(source, 'utf8'))}
<script src="file://${mermaid}"></script><script>
mermaid.initialize({ startOnLoad: false, securityLevel: 'strict', gantt: { useWidth: ${width - 64} } })
mermaid.run().then(
  () => { document.title = 'drawn ' + document.documentElement.scrollHeight },
  (err) => { document.title = 'failed ' + err.message })
</script>`

const work = mkdtempSync(join(tmpdir(), 'summary-'))
const chromium = (...more) => execFileSync('chromium', ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
  `--user-data-dir=${join(work, 'profile')}`, '--virtual-time-budget=20000', ...more, `file://${join(work, 'page.html')}`],
{ encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 120000, maxBuffer: 64 << 20 })
try {
  writeFileSync(join(work, 'page.html'), page)
  const title = /<title>(.*?)<\/title>/s.exec(chromium(`--window-size=${width},800`, '--dump-dom'))?.[1] ?? 'nothing'
  const [word, height] = title.split(' ')
  if (word !== 'drawn') throw new Error(`the summary is not drawn: ${title}`)
  chromium(`--window-size=${width},${height}`, `--screenshot=${resolve(picture)}`)
  console.log(`${picture}: ${width} x ${height}`)
} finally {
  rmSync(work, { recursive: true, force: true })
}
