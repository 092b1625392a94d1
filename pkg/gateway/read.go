package gateway

// Directive is one directive of an nginx configuration: its words, where it
// stands, and what its block holds when it has one.
type Directive struct {
	Name  string
	Args  []string
	File  string
	Line  int
	Block bool
	Inner []*Directive
}

// Read gives the directives of one file of an nginx configuration as they stand:
// includes are not followed. What nginx itself would not take is taken as it comes.
func Read(file, text string) []*Directive { return public(parseConfig(file, text)) }

func public(list []*directive) []*Directive {
	var out []*Directive
	for _, d := range list {
		out = append(out, &Directive{Name: d.name, Args: d.args, File: d.file, Line: d.line, Block: d.block, Inner: public(d.inner)})
	}
	return out
}
