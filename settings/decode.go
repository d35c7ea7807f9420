package settings

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
)

// variable is one field of a struct that holds one environment variable.
type variable struct {
	name  string
	tag   reflect.StructTag
	value reflect.Value
}

// variablesOf lists the variables of the struct that spec points to, nested
// structs included, in the order of their fields.
func variablesOf(spec any) []variable {
	return walk(reflect.ValueOf(spec).Elem(), nil)
}

func walk(structure reflect.Value, found []variable) []variable {
	for i := range structure.NumField() {
		field := structure.Type().Field(i)
		switch name := field.Tag.Get("envconfig"); {
		case name != "":
			found = append(found, variable{name, field.Tag, structure.Field(i)})
		case field.IsExported() && field.Type.Kind() == reflect.Struct:
			found = walk(structure.Field(i), found)
		}
	}
	return found
}

// isSet reports whether the variable is in the environment and not empty.
func (v variable) isSet() bool { return os.Getenv(v.name) != "" }

func (v variable) secret() bool { return v.valueType() == reflect.TypeFor[Secret]() }

// valueType is the field's type without the pointer that makes it optional.
func (v variable) valueType() reflect.Type {
	if t := v.value.Type(); t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return v.value.Type()
}

// decode sets the field from the environment, else from its default.
//
// envconfig stops at the first bad variable of a struct and takes an empty one
// for a value, so each variable is given to it as a struct of its own, in the
// type that knows the parsing rules.
func (v variable) decode() error {
	one := reflect.New(reflect.StructOf([]reflect.StructField{
		{Name: "Value", Type: v.textType(), Tag: v.tag},
	}))
	if err := envconfig.Process("", one.Interface()); err != nil {
		return reason(err)
	}
	def := v.tag.Get("default")
	if !v.isSet() && def != "" {
		if err := v.decodeText(one.Elem().Field(0), def); err != nil {
			return fmt.Errorf("default %q: %w", def, err)
		}
	}
	if v.isSet() || def != "" {
		v.store(one.Elem().Field(0).Convert(v.valueType()))
	}
	return v.check()
}

// reason is what a decoder said, without envconfig's own words around it.
func reason(err error) error {
	var parse *envconfig.ParseError
	if errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

func (v variable) decodeText(target reflect.Value, text string) error {
	if decoder, ok := target.Addr().Interface().(envconfig.Decoder); ok {
		return decoder.Decode(text)
	}
	target.SetString(text)
	return nil
}

func (v variable) store(value reflect.Value) {
	if v.value.Kind() != reflect.Pointer {
		v.value.Set(value)
		return
	}
	pointer := reflect.New(v.valueType())
	pointer.Elem().Set(value)
	v.value.Set(pointer)
}

// textType is the type that decodes values of the field's type.
func (v variable) textType() reflect.Type {
	switch v.valueType() {
	case reflect.TypeFor[bool]():
		return reflect.TypeFor[boolText]()
	case reflect.TypeFor[int]():
		return reflect.TypeFor[intText]()
	case reflect.TypeFor[float64]():
		return reflect.TypeFor[floatText]()
	case reflect.TypeFor[[]string]():
		return reflect.TypeFor[listText]()
	case reflect.TypeFor[time.Duration]():
		if v.tag.Get("off") != "" {
			return reflect.TypeFor[durationOrOffText]()
		}
		return reflect.TypeFor[durationText]()
	}
	return v.valueType()
}

// check applies the tags oneof, min and max to a value that is there.
func (v variable) check() error {
	value := reflect.Indirect(v.value)
	if !value.IsValid() || !v.isSet() {
		return nil
	}
	if v.tag.Get("oneof") != "" {
		return v.checkChoice(value)
	}
	if least, ok := v.bound("min"); ok && number(value) < number(least) {
		return errRange
	}
	if most, ok := v.bound("max"); ok && number(value) > number(most) {
		return errRange
	}
	return nil
}

// checkChoice turns the value into the spelling of the tag oneof.
func (v variable) checkChoice(value reflect.Value) error {
	text := strings.TrimSpace(value.String())
	for choice := range strings.SplitSeq(v.tag.Get("oneof"), ",") {
		if strings.EqualFold(choice, text) {
			value.SetString(choice)
			return nil
		}
	}
	return errForm
}

func (v variable) bound(tag string) (reflect.Value, bool) {
	bound := reflect.New(v.textType()).Elem()
	text := v.tag.Get(tag)
	if text == "" || v.decodeText(bound, text) != nil {
		return bound, false
	}
	return bound, true
}

func number(value reflect.Value) float64 {
	if value.CanInt() {
		return float64(value.Int())
	}
	return value.Float()
}

// accepted says in words what the variable takes.
func (v variable) accepted() string {
	if choices := v.tag.Get("oneof"); choices != "" {
		names := strings.Split(choices, ",")
		last := len(names) - 1
		if last == 0 {
			return "want " + choices
		}
		return "want " + strings.Join(names[:last], ", ") + " or " + names[last]
	}
	switch v.textType() {
	case reflect.TypeFor[boolText]():
		return "want true, 1, yes, on or false, 0, no, off"
	case reflect.TypeFor[intText]():
		return "want a whole number" + v.limits()
	case reflect.TypeFor[floatText]():
		return "want a number" + v.limits()
	case reflect.TypeFor[durationText]():
		return "want a duration such as 500ms, 30s, 5m, 2h or 1d (a bare number is seconds)" + v.limits()
	case reflect.TypeFor[durationOrOffText]():
		return "want off or a duration such as 500ms, 30s, 5m, 2h or 1d (a bare number is seconds)"
	}
	return "want a text"
}

func (v variable) limits() string {
	least, most := v.tag.Get("min"), v.tag.Get("max")
	switch {
	case least != "" && most != "":
		return " from " + least + " to " + most
	case least != "":
		return " of at least " + least
	}
	return ""
}
