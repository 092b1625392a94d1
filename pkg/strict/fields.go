package strict

import (
	"reflect"
	"slices"
	"strings"
)

// field is one key that a struct takes.
type field struct {
	value    reflect.Value
	required bool
	choices  []string
	positive bool
}

// fieldsOf gives the fields of a struct by their keys, embedded structs
// flattened.
func fieldsOf(v reflect.Value) map[string]field {
	out := map[string]field{}
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if sf.Anonymous && sf.Type.Kind() == reflect.Struct {
			for k, f := range fieldsOf(v.Field(i)) {
				out[k] = f
			}
			continue
		}
		if key := Key(sf); key != "" {
			out[key] = field{v.Field(i), Required(sf), Choices(sf), Positive(sf)}
		}
	}
	return out
}

// Key is the key that fills a field, "" for one that no key fills.
func Key(sf reflect.StructField) string {
	key, _, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
	if key == "-" || !sf.IsExported() {
		return ""
	}
	return key
}

// Required tells whether the key has to be there.
func Required(sf reflect.StructField) bool { return says(sf, "required") }

// Positive tells whether a number has to be more than 0: where 0 would be taken for what
// was not said.
func Positive(sf reflect.StructField) bool { return says(sf, "exclusiveMinimum=0") }

func says(sf reflect.StructField, what string) bool {
	return slices.Contains(strings.Split(sf.Tag.Get("jsonschema"), ","), what)
}

// Choices lists the values that a text may have; nil for any.
func Choices(sf reflect.StructField) (out []string) {
	for _, part := range strings.Split(sf.Tag.Get("jsonschema"), ",") {
		if choice, ok := strings.CutPrefix(part, "enum="); ok {
			out = append(out, choice)
		}
	}
	return out
}

// Fields lists the fields of a struct in the order they are declared, embedded
// ones flattened, those without a key left out.
func Fields(t reflect.Type) []reflect.StructField {
	var out []reflect.StructField
	for i := range t.NumField() {
		sf := t.Field(i)
		switch {
		case sf.Anonymous && sf.Type.Kind() == reflect.Struct:
			out = append(out, Fields(sf.Type)...)
		case Key(sf) != "":
			out = append(out, sf)
		}
	}
	return out
}

// Keys lists the keys of a struct in the order they are declared.
func Keys(t reflect.Type) []string {
	var out []string
	for _, sf := range Fields(t) {
		out = append(out, Key(sf))
	}
	return out
}
