package gateway

import "strings"

// directive is one directive of an nginx configuration: its words, and what its
// block holds when it has one.
type directive struct {
	name  string
	args  []string
	file  string
	line  int
	block bool
	inner []*directive
}

// text prints the directive without its block.
func (d *directive) text() string {
	return strings.TrimSpace(d.name + " " + strings.Join(d.args, " "))
}

// parseDump reads what nginx -T prints: every file of the configuration, each
// after a line that names it.
func parseDump(dump string) []*directive {
	const header = "# configuration file "
	var all []*directive
	file, start := "", 0
	flush := func(end int) {
		if file != "" {
			all = append(all, parseConfig(file, dump[start:end])...)
		}
	}
	for at := 0; at < len(dump); {
		next := at + len(dump[at:])
		if i := strings.IndexByte(dump[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		if name, ok := strings.CutPrefix(strings.TrimSpace(dump[at:next]), header); ok && strings.HasSuffix(name, ":") {
			flush(at)
			file, start = strings.TrimSuffix(name, ":"), next
		}
		at = next
	}
	flush(len(dump))
	return all
}

// parseConfig reads one file. nginx has found it valid before, so what does not
// fit together is taken as it comes and never an error.
func parseConfig(file, text string) []*directive {
	root := &directive{}
	open := []*directive{root}
	var words []token
	lex := lexer{text: text, line: 1}
	for {
		tok, kind := lex.next()
		if kind == word {
			words = append(words, tok)
			continue
		}
		var made *directive
		if len(words) > 0 {
			made = &directive{name: words[0].text, file: file, line: words[0].line, block: kind == openBrace}
			for _, w := range words[1:] {
				made.args = append(made.args, w.text)
			}
			parent := open[len(open)-1]
			parent.inner = append(parent.inner, made)
			words = nil
		}
		switch {
		case kind == end:
			return root.inner
		case kind == openBrace && made != nil && strings.HasSuffix(made.name, "_by_lua_block"):
			lex.skipBlock()
		case kind == openBrace:
			if made == nil {
				parent := open[len(open)-1]
				made = &directive{file: file, line: lex.line, block: true}
				parent.inner = append(parent.inner, made)
			}
			open = append(open, made)
		case kind == closeBrace && len(open) > 1:
			open = open[:len(open)-1]
		}
	}
}

type tokenKind int

const (
	word tokenKind = iota
	semicolon
	openBrace
	closeBrace
	end
)

type token struct {
	text string
	line int
}

// lexer cuts a configuration into words by nginx's own rules: quotes count only
// at the beginning of a word, so do `#` and `}`; `${` does not open a block.
type lexer struct {
	text string
	at   int
	line int
}

func (l *lexer) next() (token, tokenKind) {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; c {
		case ' ', '\t', '\r', '\n':
			l.step()
		case '#':
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.at++
			}
		case ';':
			l.at++
			return token{}, semicolon
		case '{':
			l.at++
			return token{}, openBrace
		case '}':
			l.at++
			return token{}, closeBrace
		case '"', '\'':
			return l.quoted(c), word
		default:
			return l.bare(), word
		}
	}
	return token{}, end
}

// step moves over one byte and counts lines.
func (l *lexer) step() {
	if l.text[l.at] == '\n' {
		l.line++
	}
	l.at++
}

func (l *lexer) quoted(quote byte) token {
	tok := token{line: l.line}
	var b strings.Builder
	for l.at++; l.at < len(l.text); {
		c := l.text[l.at]
		if c == quote {
			l.at++
			break
		}
		if c == '\\' && l.escape(&b) {
			continue
		}
		b.WriteByte(c)
		l.step()
	}
	tok.text = b.String()
	return tok
}

func (l *lexer) bare() token {
	tok := token{line: l.line}
	var b strings.Builder
	for l.at < len(l.text) {
		c := l.text[l.at]
		if strings.IndexByte(" \t\r\n;", c) >= 0 || c == '{' && !strings.HasSuffix(l.text[:l.at], "$") {
			break
		}
		if c == '\\' && l.escape(&b) {
			continue
		}
		b.WriteByte(c)
		l.step()
	}
	tok.text = b.String()
	return tok
}

// escape writes what the backslash at the current place stands for. Before any
// other byte than these nginx keeps the backslash and the byte (regular expressions).
func (l *lexer) escape(b *strings.Builder) bool {
	if l.at+1 >= len(l.text) {
		return false
	}
	next := l.text[l.at+1]
	switch next {
	case '"', '\'', '\\':
		b.WriteByte(next)
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'n':
		b.WriteByte('\n')
	default:
		b.WriteByte('\\')
		b.WriteByte(next)
	}
	l.at++
	l.step()
	return true
}

// skipBlock moves behind the brace that closes a block of another language.
func (l *lexer) skipBlock() {
	for depth := 1; l.at < len(l.text) && depth > 0; l.step() {
		switch l.text[l.at] {
		case '{':
			depth++
		case '}':
			depth--
		}
	}
}
