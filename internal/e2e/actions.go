package e2e

// keys maps the names of keys without a character to WebDriver's code points for
// them (W3C WebDriver, section 17.4.2).
var keys = map[string]string{
	"Enter": "\uE007", "Escape": "\uE00C", "Tab": "\uE004", "Backspace": "\uE003", "Delete": "\uE017",
	"ArrowLeft": "\uE012", "ArrowUp": "\uE013", "ArrowRight": "\uE014", "ArrowDown": "\uE015",
}

// Press types its arguments. Each is the name of a key, such as "Enter", or text. The
// page receives trusted events, as from a keyboard.
func (b *browser) Press(pressed ...string) error {
	var actions []object
	for _, text := range pressed {
		if code, ok := keys[text]; ok {
			text = code
		}
		for _, r := range text {
			actions = append(actions, object{"type": "keyDown", "value": string(r)}, object{"type": "keyUp", "value": string(r)})
		}
	}
	return b.performActions(object{"type": "key", "id": "keyboard", "actions": actions})
}

// MovePointer moves the mouse to a position in the viewport, in CSS pixels.
func (b *browser) MovePointer(x, y int) error { return b.performPointer(pointerMove(x, y)) }

// Click moves the mouse to a position and clicks its main button.
func (b *browser) Click(x, y int) error {
	return b.performPointer(pointerMove(x, y), object{"type": "pointerDown", "button": 0}, object{"type": "pointerUp", "button": 0})
}

func pointerMove(x, y int) object {
	return object{"type": "pointerMove", "origin": "viewport", "duration": 0, "x": x, "y": y}
}

func (b *browser) performPointer(actions ...object) error {
	return b.performActions(object{"type": "pointer", "id": "mouse", "parameters": object{"pointerType": "mouse"}, "actions": actions})
}

func (b *browser) performActions(source object) error {
	return b.call("PerformActions", object{"actions": []object{source}}, nil)
}
