//! `pyro workspace sync pull`.

use pyro_client::{Carried, Plan, Pulled};
use pyro_core::Problem;
use serde_json::json;

use super::choose;
use crate::{
    arguments::SyncPullArguments, context::Context, error::CommandError, printer::Printer,
};

pub(in crate::commands) async fn pull(
    context: &Context,
    arguments: SyncPullArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let (node, to, no_start) = (context.node().await?, &arguments.to, arguments.no_start);
    let planning = node.plan_pull(&workspace, &arguments.paths, to, no_start);
    let mut plan = printer.while_waiting("Comparing", planning).await?;
    if arguments.interactive {
        choose::choose(context, &node, &workspace, &mut plan.pulled, no_start).await?;
    }
    if arguments.force {
        plan.pulled.iter_mut().for_each(Pulled::force);
    }
    let plans = plan.pulled.clone();
    let conflicts: Vec<&Pulled> = plans.iter().filter(|it| it.plan == Plan::Conflict).collect();
    let refused = !conflicts.is_empty() && !arguments.check && !arguments.skip_conflicts;
    if refused {
        let names: Vec<String> = conflicts.iter().take(10).map(|it| it.path.clone()).collect();
        let text = format!(
            "{} of this host changed since the workspace began, or since they were taken last: {}",
            if conflicts.len() == 1 {
                "1 path".into()
            } else {
                format!("{} paths", conflicts.len())
            },
            names.join(", ")
        );
        return Err(Problem::conflict("pull_conflict", text)
            .hint(
                "--check shows all, --interactive asks; --skip-conflicts takes the rest; name paths to \
                 take only those",
            )
            .into());
    }
    if !arguments.check {
        let carried = Carried::default();
        let pulling = node.pull(&workspace, plan, to, no_start, &carried);
        printer.while_carrying("Taking home", &carried, pulling).await?;
    }
    if printer.json {
        let entries: Vec<_> =
            plans.iter().map(|it| json!({"path": it.path, "result": word(it.plan)})).collect();
        printer.json(&json!({
            "workspace": workspace,
            "to": to.to_string_lossy(),
            "checked": arguments.check,
            "conflicts": conflicts.len(),
            "entries": entries,
        }))?;
    } else {
        print(printer, &plans)?;
    }
    Ok(u8::from(arguments.check && !conflicts.is_empty()))
}

fn word(plan: Plan) -> &'static str {
    match plan {
        Plan::Write => "written",
        Plan::Remove => "removed",
        Plan::Already => "unchanged",
        Plan::Conflict => "conflict",
        Plan::Skip => "skipped",
    }
}

fn print(printer: Printer, plans: &[Pulled]) -> Result<(), CommandError> {
    for pulled in plans.iter().filter(|it| it.plan != Plan::Already) {
        let marks: Vec<&str> = pulled.entry.marks.iter().map(|mark| mark.reason.as_str()).collect();
        let marks =
            if marks.is_empty() { String::new() } else { format!("  ! {}", marks.join("; ")) };
        let path = printer.cell(&pulled.path);
        printer.line(&format!("{:<9} {path}{marks}", word(pulled.plan)))?;
    }
    Ok(())
}
