package kind

//go:generate go test -count=1 -run ^TestSchema$ . -write

import (
	"reflect"

	"github.com/invopop/jsonschema"
)

// reflector makes schemas of the types that checks are read into: keys, choices
// and required ones from the tags that the reading itself obeys, the words from
// the tag help.
func reflector() *jsonschema.Reflector {
	return &jsonschema.Reflector{
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, ExpandedStruct: true, Anonymous: true, DoNotReference: true,
		LookupComment: func(t reflect.Type, field string) string {
			if t.Kind() != reflect.Struct {
				return ""
			}
			if sf, ok := t.FieldByName(field); ok {
				return sf.Tag.Get("help")
			}
			return ""
		},
	}
}

func structSchema[T any]() *jsonschema.Schema {
	s := reflector().ReflectFromType(withoutMethods[T]())
	s.Version = ""
	return s
}

// withoutMethods is the same struct without its own idea of a schema.
func withoutMethods[T any]() reflect.Type {
	t := reflect.TypeFor[T]()
	var fields []reflect.StructField
	for i := range t.NumField() {
		fields = append(fields, t.Field(i))
	}
	return reflect.StructOf(fields)
}
