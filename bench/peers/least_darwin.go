package main

import "errors"

func least([]string) error { return errors.New("least: it needs an alarm of Linux's") }
