package kind

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/shiksha/actions/pkg/strict"
)

// Schema is the JSON Schema of a file of checks, for editors. It is made of the
// types that checks are read into.
func Schema() ([]byte, error) {
	r := reflector()
	r.DoNotReference = false
	s := r.ReflectFromType(reflect.TypeFor[File]())
	s.ID, s.Title = "", "Checks of shiksha verify"
	check, part := s.Definitions["Check"], s.Definitions["Part"]
	if check == nil || part == nil {
		return nil, fmt.Errorf("the schema has no checks")
	}
	exactlyOne(check, append(Kinds(), "all"))
	exactlyOne(part, Kinds())
	data, err := json.MarshalIndent(s, "", "  ")
	return append(data, '\n'), err
}

// exactlyOne makes one of the keys required.
func exactlyOne(s *jsonschema.Schema, keys []string) {
	for _, key := range keys {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{key}})
	}
}

// Tables describes every kind and what all checks have, as Markdown.
func Tables() string {
	var b strings.Builder
	b.WriteString("\n### What every check has\n\n")
	kinds := map[string]bool{}
	for _, k := range Kinds() {
		kinds[k] = true
	}
	table(&b, reflect.TypeFor[Check](), kinds)
	for _, sf := range strict.Fields(reflect.TypeFor[Probe]()) {
		k := reflect.New(sf.Type.Elem()).Interface().(Kind)
		m := k.Manner()
		where := map[string]string{OnRunner: "on the runner; for units of a service, or `from: host`, on the host", OnHost: "on the host", InUnit: "inside the unit"}[m.Place]
		if sf.Type == reflect.TypeFor[*Exec]() {
			where = "inside the unit, or on the host"
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s Runs %s; by default every %s until %d in a row pass", strict.Key(sf), sf.Tag.Get("help"), where, Duration(m.Interval), m.Passes)
		if m.Watched {
			b.WriteString(", and through the stability window")
		}
		b.WriteString(".\n\n")
		table(&b, sf.Type.Elem(), nil)
	}
	return b.String()
}

// table lists the keys of a struct, those of what they hold with dots.
func table(b *strings.Builder, t reflect.Type, skip map[string]bool) {
	b.WriteString("| Key | Value | What it says |\n|---|---|---|\n")
	rows(b, t, "", skip)
}

func rows(b *strings.Builder, t reflect.Type, prefix string, skip map[string]bool) {
	for _, sf := range strict.Fields(t) {
		key := strict.Key(sf)
		if skip[key] {
			continue
		}
		help := sf.Tag.Get("help")
		if strict.Required(sf) {
			help = "**Required.** " + help
		}
		if choices := strict.Choices(sf); len(choices) > 0 {
			help += " One of `" + strings.Join(choices, "`, `") + "`."
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s |\n", prefix, key, form(sf.Type), strings.ReplaceAll(help, "|", "\\|"))
		if inner, suffix := nested(sf.Type); inner != nil && key != "all" {
			rows(b, inner, prefix+key+suffix+".", nil)
		}
	}
}

// nested gives the struct that a key holds, if it has keys of its own to tell.
func nested(t reflect.Type) (reflect.Type, string) {
	suffix := ""
	if t.Kind() == reflect.Slice {
		t, suffix = t.Elem(), "[]"
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, custom := reflect.New(t).Interface().(strict.Node); custom || t.Kind() != reflect.Struct {
		return nil, ""
	}
	return t, suffix
}

// forms names types as people write their values.
var forms = map[reflect.Type]string{
	reflect.TypeFor[Duration](): "time", reflect.TypeFor[Pattern](): "pattern", reflect.TypeFor[Match](): "[match](#matches)",
	reflect.TypeFor[Secret](): "[secret](#secrets)", reflect.TypeFor[Header](): "text or [secret](#secrets)", reflect.TypeFor[Statuses](): "status",
}

func form(t reflect.Type) string {
	if name, ok := forms[t]; ok {
		return name
	}
	switch t.Kind() {
	case reflect.Pointer:
		return form(t.Elem())
	case reflect.Slice:
		return "list of " + form(t.Elem())
	case reflect.Map:
		return "name: " + form(t.Elem())
	case reflect.Struct:
		return "mapping"
	case reflect.Int, reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true or false"
	}
	return "text"
}
