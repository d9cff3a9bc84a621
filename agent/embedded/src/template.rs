//! The model's own chat template: Jinja, as its makers wrote it, with what Python's templates take for granted.
//!
//! A question is one message of a user, its picture first, as llama.cpp's server forms it: the picture is a marker
//! inside the text, which the multimodal library later replaces by whatever this model wants around its image tokens.
//! `strftime_now` is left undefined on purpose: templates then print a date of their own, so that a prompt has the
//! same tokens on every day.

use minijinja::{Environment, Error, ErrorKind, Value, context, syntax::SyntaxConfig};

use crate::EngineError;

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
    pub(crate) fn render(&self, content: &str) -> Result<String, EngineError> {
        let as_text = self.render_content(Value::from(content));
        if let Ok(prompt) = &as_text
            && prompt.contains(content)
        {
            return Ok(as_text?);
        }
        let part = context! { type => "text", text => content };
        let prompt = self.render_content(Value::from(vec![part]))?;
        if !prompt.contains(content) {
            return Err(EngineError::TemplateDrops);
        }
        Ok(prompt)
    }

    /// Whether a prompt brings its own token of beginning.
    pub(crate) fn begins(&self, prompt: &str) -> bool {
        !self.bos.is_empty() && prompt.starts_with(&self.bos)
    }

    fn render_content(&self, content: Value) -> Result<String, Error> {
        self.environment.get_template(NAME)?.render(context! {
            messages => vec![context! { role => "user", content }],
            add_generation_prompt => true,
            bos_token => &self.bos,
            eos_token => &self.eos,
        })
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
        assert_eq!(template.render("<__media__>How many?").unwrap(), want);
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
        let error = template.unwrap().render("x").unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert!(source.unwrap_or_default().contains("no pictures"));
    }

    #[test]
    fn a_template_that_drops_the_question_is_an_error() {
        let template = Template::new("hello", String::new(), String::new()).unwrap();
        assert!(matches!(
            template.render("x"),
            Err(EngineError::TemplateDrops)
        ));
    }
}
