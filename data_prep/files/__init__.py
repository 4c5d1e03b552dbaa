"""Files of all kinds as users have them: opened safely, or refused in a sentence."""
