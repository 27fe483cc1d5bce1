//! The manual page: one page for all commands, made of what the help says.

use clap::{Command, CommandFactory as _};

use super::Args;

/// The page in the language of `man`.
pub(super) fn page() -> std::io::Result<Vec<u8>> {
    let mut whole = Args::command();
    whole.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(whole.clone()).render(&mut page)?;
    for command in leaves(&whole) {
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        // A line that begins with a dot or an apostrophe would be read as a request, a backslash as an escape.
        let help = command.clone().render_help().to_string().replace('\\', "\\e");
        let help: Vec<_> = help.lines().map(|line| format!("\\&{line}")).collect();
        page.extend_from_slice(format!(".SH {}\n.nf\n{}\n.fi\n", name.to_uppercase(), help.join("\n")).as_bytes());
    }
    Ok(page)
}

/// The commands that do something themselves.
fn leaves(command: &Command) -> Vec<&Command> {
    command.get_subcommands().flat_map(|sub| if sub.has_subcommands() { leaves(sub) } else { vec![sub] }).collect()
}
