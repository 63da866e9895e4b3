//! `config`: effective values, and the reference.

use serde_json::json;

use crate::cli::arguments::{ConfigVerb, DocFormat};
use crate::cli::output::{Failure, OutputFormat, print, print_json, print_list};
use crate::config::{self, Inputs, Mode, reference};

pub fn run(inputs: &Inputs, verb: &ConfigVerb, output: OutputFormat) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Show(arguments) => {
            // Faults are for `check`: what is effective is most needed when something is wrong. Without `--for`, what `serve`
            // and `dev` insist on is not asked for.
            let loaded = config::load(inputs, arguments.mode.map(Mode::from))?;
            print_list(output, &loaded.effective(), "", &["SETTING", "VALUE", "SOURCE"], |setting| {
                vec![setting.key.clone(), setting.value.clone(), setting.source.clone()]
            })
        }
        ConfigVerb::Doc { format } => match (output, format) {
            (OutputFormat::Json, _) => print_json(&json!({ "data": settings() })),
            (OutputFormat::Text, DocFormat::Markdown) => print(&reference::markdown()),
            (OutputFormat::Text, DocFormat::Toml) => print(&reference::example()),
        },
    }
}

fn settings() -> Vec<serde_json::Value> {
    let parts = reference::parts();
    let settings = parts.iter().flat_map(|part| &part.settings);
    settings
        .map(|setting| {
            json!({
                "key": setting.key,
                "doc": setting.doc,
                "default": setting.default,
                "allowed": setting.allowed(),
                "environment": reference::variable(&setting.key),
                "secret": setting.secret,
            })
        })
        .collect()
}
