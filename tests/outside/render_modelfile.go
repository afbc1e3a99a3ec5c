// Renders the template of a Modelfile as Ollama does for one message: reads {"modelfile", "prompts"} on standard input,
// writes a list of texts. The reading of texts and the dropping of what is not printable are Ollama's own rules.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/template"
)

// value returns the text of a command whose value stands between three quotes.
func value(modelfile, command string) (string, error) {
	_, rest, found := strings.Cut(modelfile, "\n"+command+" ")
	if !found {
		return "", fmt.Errorf("no %s", command)
	}
	var buffer strings.Builder
	for _, r := range rest {
		isSpace := r == ' ' || r == '\t'
		if isSpace || r == '\n' || r == '\r' {
			text := strings.TrimSpace(buffer.String())
			isWhole := len(text) >= 6 && strings.HasPrefix(text, `"""`) && strings.HasSuffix(text, `"""`)
			if isWhole && !isSpace {
				return text[3 : len(text)-3], nil
			}
			buffer.WriteRune(r)
			continue
		}
		if strconv.IsPrint(r) {
			buffer.WriteRune(r)
		}
	}
	return "", fmt.Errorf("%s does not end", command)
}

func main() {
	var asked struct {
		Modelfile string
		Prompts   []string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	text, err := value(asked.Modelfile, "TEMPLATE")
	if err != nil {
		panic(err)
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(text))
	rendered := make([]string, len(asked.Prompts))
	for i, prompt := range asked.Prompts {
		var out strings.Builder
		if err := parsed.Execute(&out, map[string]any{"System": "", "Prompt": prompt, "Response": ""}); err != nil {
			panic(err)
		}
		rendered[i] = out.String()
	}
	encoded, err := json.Marshal(rendered)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(encoded))
}
