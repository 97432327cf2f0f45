//! Job specs that several tests use.

use std::path::Path;

use crate::programs;

/// Two ranks that run `script` in a shell, at most one a node.
#[must_use]
pub fn shell(script: &str) -> String {
    format!(
        "name = \"shell\"\n[resources]\ndevice = \"cpu\"\ngpus = 2\n\
         [run]\ncommand = [\"sh\", \"-c\", {script:?}]\nstop_grace = \"2s\"\n\
         [limits]\nmax_restarts = 0\n"
    )
}

/// One rank that runs `script` in a shell.
#[must_use]
pub fn single(script: &str) -> String {
    shell(script).replace("gpus = 2", "gpus = 1")
}

/// A small image classifier on two ranks that trains deterministically for some seconds and
/// writes a checkpoint each second.
#[must_use]
pub fn classifier(params: &str) -> String {
    format!(
        "name = \"fashion\"\n[resources]\ndevice = \"cpu\"\ngpus = 2\nmax_ranks_per_node = 1\n\
         [run]\nrecipe = \"image-classifier\"\nstop_grace = \"5s\"\n[run.params]\n{params}\n\
         [run.env]\nOMP_NUM_THREADS = \"1\"\n\
         [checkpoint]\nevery = \"1s\"\n[limits]\nmax_restarts = 0\n\
         [register]\nmodel = \"fashion\"\nmetric = \"val_accuracy\"\ngoal = \"maximize\"\n"
    )
}

/// A script in Python, as two ranks on two nodes, from the work directory `workdir`.
pub fn python(workdir: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = vec![programs::python()?.display().to_string()];
    command.extend(arguments.iter().map(|word| (*word).to_owned()));
    Ok(format!(
        "name = \"script\"\n[resources]\ndevice = \"cpu\"\ngpus = 2\nmax_ranks_per_node = 1\n\
         [run]\ncommand = {command:?}\nworkdir = {workdir:?}\n\
         [run.env]\nOMP_NUM_THREADS = \"1\"\n[limits]\nmax_restarts = 0\n"
    ))
}

/// A rank that counts until it is told to end, and leaves a checkpoint each time it is asked for
/// one by a file `checkpoint-<attempt>` in the `client`'s folder. It leaves a
/// model.
#[must_use]
pub fn checkpointing(client: &Path) -> String {
    let folder = client.display();
    let script = format!(
        "n=$((TORCHELASTIC_RESTART_COUNT + 1)); s=0; while [ ! -e {folder}/go ]; do \
         if [ -e {folder}/checkpoint-$n ]; then rm {folder}/checkpoint-$n; s=$((s+1)); \
         d=$YARD_CHECKPOINT_DIR/step-00000000000$s; mkdir $d.tmp; echo $n > $d.tmp/weights; \
         echo \"{{\\\"format\\\":1,\\\"step\\\":$s}}\" > $d.tmp/checkpoint.json; mv $d.tmp $d; fi; \
         sleep 0.05; done; echo 1 > $YARD_ARTIFACT_DIR/weights"
    );
    let spec = single(&script).replace("max_restarts = 0", "max_restarts = 5");
    format!("{spec}[register]\nmodel = \"late\"\n")
}
