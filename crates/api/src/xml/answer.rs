//! The frames around answers and errors, of which each protocol has its own.

use super::{ToXml, Writer};
use crate::error::ApiError;
use crate::shape::{Operation, Protocol, Service};

/// What answers and errors are.
pub const CONTENT_TYPE: &str = "text/xml;charset=UTF-8";

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The answer to a request of type `O`.
///
/// An empty list is not written, unless the operation describes and the list is what it describes.
pub fn answer<O: Operation>(output: &O::Output, request_id: &str) -> String {
    answer_keeping::<O>(output, request_id, &[])
}

/// The same, with those lists that are written even when they are empty, by the names of their elements (`attachmentSet`), wherever in
/// the answer they stand. Clients exist that fail without such an element, and others that fail with another.
pub fn answer_keeping<O: Operation>(output: &O::Output, request_id: &str, lists: &[&str]) -> String {
    let lists = [O::KEEPS, lists].concat();
    framed(O::SERVICE, O::NAME, O::HAS_OUTPUT.then_some(output), request_id, &lists)
}

/// An answer of an operation by that name; without output, it was done.
pub(crate) fn framed<T: ToXml>(service: Service, name: &str, output: Option<&T>, id: &str, lists: &[&str]) -> String {
    let mut out = Writer::new();
    out.keep(lists);
    out.text.push_str(DECLARATION);
    let namespace = format!(" xmlns=\"{}\"", service.namespace);
    out.element_with(&format!("{name}Response"), &namespace, |out| match service.protocol {
        Protocol::Ec2 => {
            out.element("requestId", |out| out.text(id));
            match output {
                Some(output) => output.write(out),
                None => out.element("return", |out| out.text("true")),
            }
        }
        Protocol::AwsQuery => {
            if let Some(output) = output {
                out.element(&format!("{name}Result"), |out| output.write(out));
            }
            out.element("ResponseMetadata", |out| out.element("RequestId", |out| out.text(id)));
        }
    });
    out.finish()
}

/// An error, as clients of that protocol understand it. The HTTP status is [`crate::Code::status`].
pub fn error(protocol: Protocol, error: &ApiError, request_id: &str) -> String {
    let mut out = Writer::new();
    out.text.push_str(DECLARATION);
    let what = |out: &mut Writer<'_>| {
        out.element("Code", |out| out.text(error.code.wire()));
        out.element("Message", |out| out.text(&error.message));
    };
    match protocol {
        Protocol::Ec2 => out.element("Response", |out| {
            out.element("Errors", |out| out.element("Error", what));
            // In capitals here, and not so in answers.
            out.element("RequestID", |out| out.text(request_id));
        }),
        Protocol::AwsQuery => out.element("ErrorResponse", |out| {
            let whose = if error.code.status() < 500 { "Sender" } else { "Receiver" };
            out.element("Error", |out| {
                out.element("Type", |out| out.text(whose));
                what(out);
            });
            out.element("RequestId", |out| out.text(request_id));
        }),
    }
    out.finish()
}
