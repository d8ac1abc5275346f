//! Which operation is answered by whom: what describes at once, what changes something by the region.

use super::{
    Begun, Caller, Desk, Outcome, Telling, Told, Written, attachments, defaults, instances, modifying, places, tags,
    told, told_with, volumes,
};
use crate::ec2;
use region::{Command, Region};

/// What is done with a request.
enum Dealt {
    Told(Written),
    /// The region is asked, unless the parameters are wrong already.
    Wished(Telling, Outcome<Command>),
}

impl Desk {
    pub(super) fn ask_ec2(&mut self, region: &mut Region, caller: Caller, request: ec2::Request) -> Begun {
        let dry = request.is_dry_run();
        match self.deal(region, &caller, dry, request) {
            Dealt::Told(written) => Begun::Answered(written),
            Dealt::Wished(telling, command) => self.command(region, caller, telling, dry, command),
        }
    }

    fn deal(&self, region: &Region, c: &Caller, dry: bool, request: ec2::Request) -> Dealt {
        use Dealt::Wished;
        use ec2::Request as R;
        const OF_INSTANCES: [&str; 4] = ["blockDeviceMapping", "groupSet", "networkInterfaceSet", "productCodes"];
        Dealt::Told(match request {
            R::DescribeRegions(m) => told(c, dry, self.places.regions(&m)),
            R::DescribeAvailabilityZones(m) => told(c, dry, self.places.zones(&m, region)),
            R::DescribeAccountAttributes(m) => told(c, dry, places::attributes(&m)),
            R::DescribeVolumes(m) => told_with(c, dry, &["attachmentSet"], self.describe_volumes(region, c, &m)),
            R::DescribeVolumesModifications(m) => told(c, dry, self.describe_modifications(region, c, &m)),
            R::DescribeVolumeStatus(m) => {
                told_with(c, dry, &["actionsSet", "eventsSet"], self.describe_status(region, c, &m))
            }
            R::DescribeInstances(m) => told_with(c, dry, &OF_INSTANCES, self.describe_instances(region, c, &m)),
            R::DescribeInstanceStatus(m) => told(c, dry, self.describe_instance_status(region, &m)),
            R::DescribeInstanceTypes(m) => told(c, dry, instances::describe_types(region, &m)),
            R::DescribeTags(m) => told(c, dry, tags::describe(region, c, &m)),
            R::DescribeVolumeAttribute(m) => told(c, dry, defaults::describe_attribute(region, c, &m)),
            R::EnableVolumeIO(m) => told(c, dry, defaults::enable_io(region, c, &m)),
            R::GetEbsEncryptionByDefault(_) => {
                told::<ec2::GetEbsEncryptionByDefaultRequest>(c, dry, Ok(Told(defaults::encrypted(region, c))))
            }
            R::GetEbsDefaultKmsKeyId(_) => {
                told::<ec2::GetEbsDefaultKmsKeyIdRequest>(c, dry, Ok(Told(defaults::key(region, c))))
            }
            R::CreateVolume(m) => return Wished(Telling::CreateVolume, self.create_volume(region, c, &m)),
            R::DeleteVolume(m) => return Wished(Telling::DeleteVolume, volumes::delete(c, &m)),
            R::AttachVolume(m) => return Wished(Telling::AttachVolume, attachments::attach(c, &m)),
            R::DetachVolume(m) => {
                return Wished(Telling::DetachVolume(m.instance_id.clone()), attachments::detach(c, &m));
            }
            R::ModifyVolume(m) => return Wished(Telling::ModifyVolume, modifying::modify(region, c, &m)),
            R::ModifyVolumeAttribute(m) => return Wished(Telling::VolumeAttribute, defaults::set_attribute(c, &m)),
            R::EnableEbsEncryptionByDefault(_) => {
                return Wished(Telling::Encrypt, Ok(defaults::set_encrypted(c, true)));
            }
            R::DisableEbsEncryptionByDefault(_) => {
                return Wished(Telling::DoNotEncrypt, Ok(defaults::set_encrypted(c, false)));
            }
            R::ModifyEbsDefaultKmsKeyId(m) => return Wished(Telling::SetKey, defaults::set_key(c, &m.kms_key_id)),
            R::ResetEbsDefaultKmsKeyId(_) => return Wished(Telling::ResetKey, Ok(defaults::reset_key(c))),
            R::CreateTags(m) => return Wished(Telling::CreateTags, tags::create(c, &m)),
            R::DeleteTags(m) => return Wished(Telling::DeleteTags, tags::delete(c, &m)),
        })
    }
}
