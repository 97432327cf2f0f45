//! What errors look like, and how they end.

use tonic::Code;

use super::*;

#[test]
fn an_error_says_what_to_try() {
    let error =
        CliError::refused("submit the job", &Status::resource_exhausted("quota is used up"))
            .help("`yard explain` says what would let it in");
    assert_eq!(error.exit(), Exit::Refused);
    insta::assert_snapshot!(error.render(false, 80), @"
    × cannot submit the job: quota is used up
    help: `yard explain` says what would let it in
    ");
}

#[test]
fn a_refusal_without_words_names_its_code() {
    let error = CliError::refused("list the nodes", &Status::new(Code::Internal, ""));
    assert_eq!(error.exit(), Exit::Internal);
    insta::assert_snapshot!(error.render(false, 80), @"  × cannot list the nodes: the scheduler answered Internal");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
    assert_eq!(error.exit(), Exit::Done);
    assert_eq!(error.render(false, 80), "");
}
