# Prints SpamAssassin's score of each mail, without asking the network: one line of FILE, SCORE and the rules that hit.
use strict;
use warnings;
use Mail::SpamAssassin;

my $judge = Mail::SpamAssassin->new({ local_tests_only => 1, dont_copy_prefs => 1, userprefs_filename => '/dev/null' });
$judge->init(1);
for my $file (@ARGV) {
    open(my $in, '<:raw', $file) or die "$file: $!";
    my $mail = $judge->parse(do { local $/; <$in> });
    my $status = $judge->check($mail);
    printf("%s\t%.1f\t%s\n", $file, $status->get_score(), $status->get_names_of_tests_hit());
    $status->finish();
    $mail->finish();
}
