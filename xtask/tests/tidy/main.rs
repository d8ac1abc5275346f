//! Every rule of tidy, tried on a house in which it is broken: the finding must name the place. A rule without such a test could
//! pass by never looking.

mod imports;
mod plant;
mod purity;
mod rules;

use plant::Plant;

#[test]
fn a_house_that_keeps_every_rule_is_clean() {
    Plant::new().is_clean();
}
