//! From a text to the services it declares, whichever of both languages it is in.

use std::collections::{BTreeMap, BTreeSet};

use pyro_core::{ServiceName, ServiceSpec};

use crate::{
    ManifestError, compose_file, dotenv,
    interpolation::{self, Variables},
    port::{self, Port},
    pyro_file, toml_text,
    tree::{Fault, MOST_BYTES, Node, ScalarKind, Value},
    value, yaml_text,
};

/// Of a file, bytes.
const LARGEST: usize = 1 << 20;
/// Services of a file: as many as a workspace has.
const MOST_SERVICES: usize = 256;
/// Files of variables that a file may name.
const MOST_ENV_FILES: usize = 64;
/// Of what a text grows to by its variables, bytes.
const LONGEST_TEXT: usize = 256 << 10;

/// A file as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name, or its path; the ending says which language it is in.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// What a file may refer to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    /// Values of variables.
    pub variables: BTreeMap<String, String>,
    /// The text of `.env` beside it: values where `variables` has none.
    pub dot_env: Option<String>,
    /// Texts of files of variables, by the path it gives; none: it is not there.
    pub env_files: BTreeMap<String, Option<String>>,
}

/// What a file needs of where it lies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Variables it names.
    pub variables: BTreeSet<String>,
    /// Files of variables it names.
    pub env_files: Vec<EnvFile>,
}

/// A file of variables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvFile {
    /// As it is given: absolute, or relative to the file that names it.
    pub path: String,
    /// Whether it is an error where it is not there.
    pub required: bool,
}

/// What a file declares.
#[derive(Clone, PartialEq, Debug)]
pub struct Manifest {
    /// Each after those it depends on; else as they stand in the file.
    pub services: Vec<ServiceSpec>,
    /// Ports of this host by which they are reached, of those that have any.
    pub ports: BTreeMap<ServiceName, Vec<Port>>,
    /// What the caller should know, for example what was ignored.
    pub notices: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    Pyro,
    Compose,
}

impl Source<'_> {
    fn language(&self) -> Result<Language, ManifestError> {
        let extension = self.name.rsplit_once('.').map(|(_, extension)| extension);
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("toml") => Ok(Language::Pyro),
            Some("yaml" | "yml") => Ok(Language::Compose),
            _ => Err(ManifestError::UnknownKind { file: self.shown() }),
        }
    }

    fn shown(&self) -> String {
        self.name.chars().take(200).collect()
    }

    fn tree(&self) -> Result<(Language, Node), ManifestError> {
        let language = self.language()?;
        if self.text.len() > LARGEST {
            let what = format!("it is larger than {LARGEST} bytes");
            return Err(ManifestError::TooLarge { file: self.shown(), what });
        }
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(self.text);
        let tree = match language {
            Language::Pyro => toml_text::parse(text),
            Language::Compose => yaml_text::parse(text),
        };
        let tree = tree.map_err(|fault| {
            if fault.too_large {
                return self.fault(fault);
            }
            ManifestError::Syntax { file: self.shown(), line: fault.line, what: fault.what }
        })?;
        Ok((language, tree))
    }

    fn fault(&self, fault: Fault) -> ManifestError {
        let Fault { line, what, hint, too_large } = fault;
        if too_large {
            let what = format!("line {line}: {what}");
            return ManifestError::TooLarge { file: self.shown(), what };
        }
        ManifestError::Invalid { file: self.shown(), line, what, hint }
    }
}

/// What the file needs, as far as it can be known with these variables. What is wrong with it is said
/// by [`read`].
pub fn needs(
    source: Source<'_>,
    variables: &BTreeMap<String, String>,
    dot_env: Option<&str>,
) -> Result<Needs, ManifestError> {
    let (language, tree) = source.tree()?;
    let dot_env = dot_env_variables(source, variables, dot_env)?;
    let lookup = |name: &str| variables.get(name).or_else(|| dot_env.get(name)).cloned();
    let mut needs = Needs::default();
    collect_names(&tree, &mut Vec::new(), language, &mut needs.variables);
    for service in tree.get("services").map(Node::entries).unwrap_or_default() {
        // A variable that is given without a value has the one it has where the file is read.
        let environment = match language {
            Language::Pyro => None,
            Language::Compose => service.node.get("environment"),
        };
        needs.variables.extend(environment.map(compose_file::passed_on).unwrap_or_default());
        let mut variables = Variables::new(&lookup);
        variables.lenient = true;
        let Some(named) = service.node.get("env_file") else { continue };
        let Ok(named) = env_files(named) else { continue };
        for (file, _) in named {
            if let Ok(path) = variables.expand(&file.path, LONGEST_TEXT)
                && !needs.env_files.iter().any(|known| known.path == path)
                && needs.env_files.len() < MOST_ENV_FILES
            {
                needs.env_files.push(EnvFile { path, ..file });
            }
        }
    }
    Ok(needs)
}

/// Reads what the file declares. Nothing of it is used where anything in it is wrong.
pub fn read(source: Source<'_>, around: &Surroundings) -> Result<Manifest, ManifestError> {
    let (language, tree) = source.tree()?;
    let dot_env = dot_env_variables(source, &around.variables, around.dot_env.as_deref())?;
    let lookup = |name: &str| around.variables.get(name).or_else(|| dot_env.get(name)).cloned();
    let mut variables = Variables::new(&lookup);
    let mut left = MOST_BYTES;
    let tree = expand(&tree, &mut Vec::new(), language, &mut variables, &mut left)
        .map_err(|fault| source.fault(fault))?;
    let mut reading = Reading { source, around, variables, notices: BTreeMap::new() };
    let declared = match language {
        Language::Pyro => pyro_file::services(&tree, &mut reading),
        Language::Compose => compose_file::services(&tree, &mut reading),
    };
    let declared = declared.map_err(|error| match error {
        Wrong::Fault(fault) => source.fault(fault),
        Wrong::EnvFile(error) => error,
    })?;
    if declared.len() > MOST_SERVICES {
        let what = format!("it declares more than {MOST_SERVICES} services");
        return Err(ManifestError::TooLarge { file: source.shown(), what });
    }
    let with_ports = declared.iter().map(|it| (it.line, &it.spec.name, it.ports.as_slice()));
    port::are_apart(with_ports).map_err(|fault| source.fault(fault))?;
    let ports = declared.iter().filter(|service| !service.ports.is_empty());
    let ports = ports.map(|it| (it.spec.name.clone(), it.ports.clone())).collect();
    let services = in_order(declared).map_err(|fault| source.fault(fault))?;
    let mut notices = reading.notices();
    notices.extend(
        reading
            .variables
            .unset
            .iter()
            .map(|name| format!("the variable {name} is not set: it is taken as empty")),
    );
    Ok(Manifest { services, ports, notices })
}

/// A service and where it stands.
pub(crate) struct Declared {
    pub(crate) line: usize,
    pub(crate) spec: ServiceSpec,
    pub(crate) ports: Vec<Port>,
}

/// What came in the way of reading.
pub(crate) enum Wrong {
    Fault(Fault),
    EnvFile(ManifestError),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A file as it is read.
pub(crate) struct Reading<'a> {
    source: Source<'a>,
    around: &'a Surroundings,
    pub(crate) variables: Variables<'a>,
    /// What was ignored, why, and of which services.
    notices: BTreeMap<(String, &'static str), Vec<String>>,
}

impl Reading<'_> {
    /// Says that a key was ignored.
    pub(crate) fn ignored(&mut self, key: &str, why: &'static str, service: Option<&str>) {
        let of = self.notices.entry((key.to_owned(), why)).or_default();
        of.extend(service.map(ToOwned::to_owned));
    }

    fn notices(&self) -> Vec<String> {
        let notice = |((key, why), of): (&(String, &str), &Vec<String>)| {
            let of = match of.as_slice() {
                [] => String::new(),
                services => format!(" (of {})", services.join(", ")),
            };
            format!("{key}{of} is ignored: {why}")
        };
        self.notices.iter().map(notice).collect()
    }

    /// The variables of the files that are named here.
    pub(crate) fn env_files(&mut self, node: &Node) -> Result<BTreeMap<String, String>, Wrong> {
        let mut variables = BTreeMap::new();
        for (file, line) in env_files(node)? {
            let wrong = |what: String| {
                Wrong::EnvFile(ManifestError::EnvFile {
                    file: self.source.shown(),
                    line,
                    path: file.path.chars().take(200).collect(),
                    what,
                })
            };
            let text = match self.around.env_files.get(&file.path) {
                Some(Some(text)) => text,
                _ if !file.required => continue,
                Some(None) => return Err(wrong("is not there".into())),
                None => return Err(wrong("was not given".into())),
            };
            let lookup = &mut self.variables;
            let known = std::cell::RefCell::new(lookup);
            let found = dotenv::parse(text, &|name| known.borrow_mut().get(name))
                .map_err(|(line, what)| wrong(format!("{what} (line {line})")))?;
            variables.extend(found);
        }
        Ok(variables)
    }
}

/// One path, or a list of paths and of tables with `path` and `required`; each with its line.
fn env_files(node: &Node) -> Result<Vec<(EnvFile, usize)>, Fault> {
    let one = |node: &Node| {
        let Value::Map(entries) = &node.value else {
            let path = value::scalar(node, "an env_file")?.to_owned();
            return Ok((EnvFile { path, required: true }, node.line));
        };
        let mut file = EnvFile { path: String::new(), required: true };
        for entry in entries {
            match entry.name.as_str() {
                "path" => value::scalar(&entry.node, "path")?.clone_into(&mut file.path),
                "required" => file.required = value::truth(&entry.node, "required")?,
                _ => return Err(value::unknown(entry, "an env_file", &["path", "required"])),
            }
        }
        Ok((file, node.line))
    };
    let files = match &node.value {
        Value::List(items) => items.iter().map(one).collect::<Result<Vec<_>, _>>()?,
        _ => vec![one(node)?],
    };
    match files.iter().find(|(file, _)| file.path.is_empty()) {
        Some((_, line)) => Err(Fault::new(*line, "an env_file without a path")),
        None if files.len() > MOST_ENV_FILES => Err(Fault::too_large(
            node.line,
            format!("there are more than {MOST_ENV_FILES} env_files"),
        )),
        None => Ok(files),
    }
}

fn dot_env_variables(
    source: Source<'_>,
    variables: &BTreeMap<String, String>,
    dot_env: Option<&str>,
) -> Result<BTreeMap<String, String>, ManifestError> {
    let Some(text) = dot_env else { return Ok(BTreeMap::new()) };
    dotenv::parse(text, &|name| variables.get(name).cloned()).map_err(|(line, what)| {
        let what = format!("the .env beside {} {what}", source.shown());
        ManifestError::Invalid { file: ".env".into(), line, what, hint: None }
    })
}

/// Whether what stands there is taken as it is.
fn is_literal(path: &[&str], language: Language) -> bool {
    match language {
        Language::Pyro => pyro_file::is_literal(path),
        Language::Compose => match path {
            // What is ignored or refused needs no values.
            ["services", _, key, ..] => !compose_file::SERVICE_KEYS.contains(key),
            [key, ..] => key.starts_with("x-"),
            [] => false,
        },
    }
}

fn collect_names<'a>(
    node: &'a Node,
    path: &mut Vec<&'a str>,
    language: Language,
    names: &mut BTreeSet<String>,
) {
    if is_literal(path, language) {
        return;
    }
    match &node.value {
        Value::Null => {}
        Value::Scalar { text, .. } => interpolation::names(text, names),
        Value::List(items) => {
            for item in items {
                collect_names(item, path, language, names);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                path.push(&entry.name);
                collect_names(&entry.node, path, language, names);
                path.pop();
            }
        }
    }
}

/// The same tree with what its variables stand for.
fn expand<'a>(
    node: &'a Node,
    path: &mut Vec<&'a str>,
    language: Language,
    variables: &mut Variables<'_>,
    left: &mut usize,
) -> Result<Node, Fault> {
    let line = node.line;
    if is_literal(path, language) {
        return Ok(node.clone());
    }
    let value = match &node.value {
        Value::Null => Value::Null,
        Value::Scalar { text, kind } => {
            let expanded =
                variables.expand(text, LONGEST_TEXT).map_err(|what| Fault::new(line, what))?;
            *left = left.checked_sub(expanded.len()).ok_or_else(|| {
                Fault::too_large(line, "with its variables the file is too large")
            })?;
            // What a variable stands for is what it is asked to be.
            let kind = if text.contains('$') { ScalarKind::Plain } else { *kind };
            Value::Scalar { text: expanded, kind }
        }
        Value::List(items) => {
            let items = items.iter().map(|item| expand(item, path, language, variables, left));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Value::Map(entries) => {
            let mut expanded = Vec::with_capacity(entries.len());
            for entry in entries {
                path.push(&entry.name);
                let node = expand(&entry.node, path, language, variables, left)?;
                path.pop();
                expanded.push(crate::tree::Entry {
                    line: entry.line,
                    name: entry.name.clone(),
                    node,
                });
            }
            Value::Map(expanded)
        }
    };
    Ok(Node { line, value })
}

/// Each after those it depends on, else as they came.
fn in_order(declared: Vec<Declared>) -> Result<Vec<ServiceSpec>, Fault> {
    let names: Vec<String> = declared.iter().map(|service| service.spec.name.to_string()).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    for Declared { line, spec, .. } in &declared {
        for on in spec.depends_on.keys() {
            if known.contains(&on.as_str()) {
                continue;
            }
            let what = format!("{} depends on {on}, which is not in this file", spec.name);
            let fault = Fault::new(*line, what);
            return Err(match value::nearest(on.as_str(), &known) {
                Some(near) => fault.hint(format!("did you mean {near}?")),
                None => fault.hint(format!("the services are: {}", known.join(", "))),
            });
        }
    }
    let mut left = declared;
    let mut placed: BTreeSet<ServiceName> = BTreeSet::new();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free =
            |service: &Declared| service.spec.depends_on.keys().all(|on| placed.contains(on));
        let Some(next) = left.iter().position(free) else {
            let line = left[0].line;
            let what = format!("these depend on each other in a circle: {}", circle(&left));
            return Err(Fault::new(line, what));
        };
        let spec = left.remove(next).spec;
        placed.insert(spec.name.clone());
        ordered.push(spec);
    }
    Ok(ordered)
}

/// A circle among services of which each depends on another of them.
fn circle(left: &[Declared]) -> String {
    let mut way: Vec<&ServiceName> = Vec::new();
    let mut at = &left[0].spec;
    while !way.contains(&&at.name) {
        way.push(&at.name);
        let next = left.iter().find(|service| at.depends_on.contains_key(&service.spec.name));
        let Some(next) = next else { break };
        at = &next.spec;
    }
    let begins = way.iter().position(|name| **name == at.name).unwrap_or(0);
    let mut names: Vec<_> = way[begins..].iter().map(ToString::to_string).collect();
    names.push(at.name.to_string());
    names.join(" -> ")
}
