//! The model's own chat template: Jinja, as its makers wrote it, with what Python's templates take for granted.
//!
//! A question is the last message, a user's, its picture first, as llama.cpp's server forms it: the picture is a marker
//! inside the text, which the multimodal library later replaces by whatever this model wants around its image tokens.
//! What was said before are messages before it; a template that does not take them says so in its own words.
//! `strftime_now` is left undefined on purpose: templates then print a date of their own, so that a prompt has the
//! same tokens on every day.

use minijinja::{Environment, Error, ErrorKind, Value, context, syntax::SyntaxConfig};

use crate::{
    EngineError,
    engine::{Speaker, Turn},
};

/// A model's chat template, compiled.
pub(crate) struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    /// Compiles `source`; the tokens are the texts of the model's own.
    pub(crate) fn new(source: &str, bos: String, eos: String) -> Result<Self, EngineError> {
        let mut environment = Environment::new();
        // As Python's side sets it for every chat template.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?;
        environment.set_syntax(syntax);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, source.to_owned())?;
        Ok(Self {
            environment,
            bos,
            eos,
        })
    }

    /// The whole prompt, up to where the answer begins.
    ///
    /// Most templates take a text as a message's content; some take only a list of parts.
    pub(crate) fn render(
        &self,
        history: &[Turn<'_>],
        question: &str,
    ) -> Result<String, EngineError> {
        let is_all_in = |prompt: &str| {
            let said = |turn: &Turn<'_>| prompt.contains(turn.text.trim());
            prompt.contains(question) && history.iter().all(said)
        };
        let as_text = self.render_as(history, question, |text| Value::from(text));
        if let Ok(prompt) = &as_text
            && is_all_in(prompt)
        {
            return Ok(as_text?);
        }
        let prompt = self.render_as(history, question, as_part)?;
        if !is_all_in(&prompt) {
            return Err(EngineError::TemplateDrops);
        }
        Ok(prompt)
    }

    /// Whether a prompt brings its own token of beginning.
    pub(crate) fn begins(&self, prompt: &str) -> bool {
        !self.bos.is_empty() && prompt.starts_with(&self.bos)
    }

    fn render_as(
        &self,
        history: &[Turn<'_>],
        question: &str,
        content: fn(&str) -> Value,
    ) -> Result<String, Error> {
        let question = Turn {
            speaker: Speaker::User,
            text: question,
        };
        let turns = history.iter().chain([&question]);
        let message = |turn: &Turn<'_>| context! { role => role(turn.speaker), content => content(turn.text) };
        self.environment.get_template(NAME)?.render(context! {
            messages => turns.map(message).collect::<Vec<Value>>(),
            add_generation_prompt => true,
            bos_token => &self.bos,
            eos_token => &self.eos,
        })
    }
}

fn as_part(text: &str) -> Value {
    Value::from(vec![context! { type => "text", text }])
}

fn role(speaker: Speaker) -> &'static str {
    match speaker {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

const NAME: &str = "chat";

/// What llama.cpp falls back to, too, for a file without a template.
pub(crate) const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
     {{ message.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, want: &str) {
        let template = Template::new(source, "<s>".into(), "</s>".into()).unwrap();
        assert_eq!(template.render(&[], "<__media__>How many?").unwrap(), want);
    }

    #[test]
    fn a_text_stays_a_text() {
        check(
            "{{ bos_token }}{% for m in messages %}{{ m['role'] | capitalize }}{{ ': ' + m['content'] }}{% endfor %}",
            "<s>User: <__media__>How many?",
        );
    }

    #[test]
    fn a_template_that_knows_only_parts_gets_parts() {
        check(
            "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}\
             {% endif %}{% endfor %}{% endfor %}|",
            "<__media__>How many?|",
        );
    }

    #[test]
    fn what_python_offers_is_there() {
        check(
            "{% for m in messages %}{{ m.content.strip().split('?')[0] + '?' }}{% if loop.first %}{% break %}{% endif %}\
             {% endfor %}{{ messages[0].role.startswith('u') }}",
            "<__media__>How many?True",
        );
    }

    #[test]
    fn a_date_is_the_templates_own() {
        check(
            "{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}26 Jul 2024{% endif %} \
             {{ messages[0]['content'] }}",
            "26 Jul 2024 <__media__>How many?",
        );
    }

    #[test]
    fn the_templates_own_complaint_is_told() {
        let template = Template::new(
            "{{ raise_exception('no pictures') }}",
            String::new(),
            String::new(),
        );
        let error = template.unwrap().render(&[], "x").unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(source.unwrap_or_default().contains("no pictures"));
    }

    #[test]
    fn a_template_that_drops_the_question_is_an_error() {
        let template = Template::new("hello", String::new(), String::new()).unwrap();
        assert!(matches!(
            template.render(&[], "x"),
            Err(EngineError::TemplateDrops)
        ));
    }

    const HISTORY: [Turn<'static>; 3] = [
        Turn {
            speaker: Speaker::System,
            text: "Be brief.",
        },
        Turn {
            speaker: Speaker::User,
            text: "Pick a number.",
        },
        Turn {
            speaker: Speaker::Assistant,
            text: " 17.",
        },
    ];

    #[test]
    fn what_was_said_before_stands_before_the_question() {
        let of_parts = "{% for m in messages %}[{{ m.role }}]{% for part in m['content'] %}\
             {% if part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endfor %}";
        let of_text = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{% endfor %}";
        for source in [of_text, of_parts] {
            let template = Template::new(source, String::new(), String::new()).unwrap();
            assert_eq!(
                template.render(&HISTORY, "Which?").unwrap(),
                "[system]Be brief.[user]Pick a number.[assistant]17.[user]Which?"
            );
        }
    }

    #[test]
    fn a_template_that_drops_what_was_said_before_is_an_error() {
        let template =
            Template::new("{{ messages[-1].content }}", String::new(), String::new()).unwrap();
        assert!(template.render(&[], "Which?").is_ok());
        assert!(matches!(
            template.render(&HISTORY, "Which?"),
            Err(EngineError::TemplateDrops)
        ));
    }
}
